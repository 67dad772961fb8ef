"""Efficiency: seconds, memory and CPU of one case after the other, in a container or a process."""
