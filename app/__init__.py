"""Viscera: 13 abdominal organs in a CT scan, on a CPU. One module per step of the way of one case."""

__version__ = "0.1.0"
