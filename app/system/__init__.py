"""System: what a system is, and the tables of what its file may name."""
