"""Fuzzers of the protocol."""
