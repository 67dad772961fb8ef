"""Run: a run of the program, from its arguments to its report; the order of a case is in `pipeline` and `stage`."""
