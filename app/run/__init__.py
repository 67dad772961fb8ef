"""Run: what a run of the program is."""
