"""Wayside's wire protocol: one source for MicroPython and CPython, with no I/O."""
