"""Steps: what happens to a case, one module a step; plain functions from data to data."""
