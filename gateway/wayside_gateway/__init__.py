"""Wayside's gateway: links in, a durable store, uplinks out."""
