"""Sensors: each a start/poll core with no waiting in it, and an error that names what is wrong."""
