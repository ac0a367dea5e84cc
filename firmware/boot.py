"""Runs first on the board, before `main.py`: sees that there is a folder to write to. The port mounted its flash."""

import gc

from wayside_node import files, profile

try:
    import micropython

    # An error in a hard interrupt handler has no heap for its message.
    micropython.alloc_emergency_exception_buf(100)
except (ImportError, AttributeError):
    pass

files.make_folder(profile.load().DATA_ROOT)
gc.collect()
