"""Scores: DSC and NSD of masks as the organisers compute them, over cases, as text, tables and boxes."""
