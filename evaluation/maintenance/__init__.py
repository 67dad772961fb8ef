"""Maintenance: the project's own figures: of its image, its systems, phase one, and odd scans."""
