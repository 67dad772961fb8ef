"""Benchmark: contenders side by side on the same scans, and the report of it."""
