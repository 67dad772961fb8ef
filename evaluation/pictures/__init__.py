"""Pictures: scans with their masks, to look at."""
