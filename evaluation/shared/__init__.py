"""Shared: what the tools have in common: the challenge's constants, masks, statistics, whose a file is."""
