"""Models: what a model is."""
