"""Viscera: abdominal organs in a CT scan, on a CPU.

`run` walks the cases; its `pipeline` is the way of one. `system`: which models run on what, as a file says. `models`: a
network and its constants. `steps`: what happens to a case, one module a step. `files`: scans in, masks out.
"""

__version__ = "0.1.0"
