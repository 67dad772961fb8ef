"""Doctests of the modules here need what training needs."""

from importlib.util import find_spec

if find_spec("torch") is None or find_spec("nncf") is None:
    collect_ignore_glob = ["*.py"]
