"""Contenders: other ways to run the same network on the same box of tissue, each a program of its own.

    python -m evaluation.contenders.NAME SCAN OUTPUTS ...

SCAN is what phase one kept of a scan; the mask goes into OUTPUTS. The last line printed is JSON: seconds by step. They
run in an environment of their own (requirements/contenders.txt).
"""
