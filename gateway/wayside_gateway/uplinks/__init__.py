"""Uplinks: readers of the store's log that hand it on. `sink` is the seam, `base` the one loop, the rest are sinks."""
