"""Files: what comes in and goes out."""
