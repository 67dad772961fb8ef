"""Evaluation: scores and figures of what app writes, measured from outside; never in the image."""
