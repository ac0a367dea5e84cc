"""A board process in CPython, where no MicroPython can be had, for debugging, and for coverage.

It runs the same firmware sources over the same link to the same host, and the same shims; littlefs is
littlefs-python's, asyncio is a small scheduler of MicroPython's kind (`scheduler.py`). It says so when it starts.
What it cannot show is what the heap does.
"""
