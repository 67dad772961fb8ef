"""Maintenance: the project's own figures: of its image, of phase one, of scans that are long or without an organ."""
