"""Counting people who pass: small integer cores, fed one event at a time."""
