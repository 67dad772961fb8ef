"""Models: what a model is: a bundle of constants and files, and an engine that runs them."""
