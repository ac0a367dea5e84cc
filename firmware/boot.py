"""Runs first on the board, before `main.py`: sees that there is a folder to write to. The port mounted its flash."""

import gc

from wayside_node import files, profile

try:
    import micropython

    # An error in a hard interrupt handler has no heap for its message.
    micropython.alloc_emergency_exception_buf(100)
except (ImportError, AttributeError):
    pass

# What stays is packed together while modules load: collected only when the heap is full, what is loaded is strewn over
# all of it, and of 80 KiB free no 2 KiB were in one piece (measured). `main.py` sets the threshold of running.
LOADING_GARBAGE = 4096
if hasattr(gc, "threshold"):
    gc.threshold(LOADING_GARBAGE)

files.make_folder(profile.load().DATA_ROOT)
gc.collect()
