"""Training: recipes to bundles. Uses app's reading and preprocessing; app never imports it."""
