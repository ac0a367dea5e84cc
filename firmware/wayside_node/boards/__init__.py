"""Boards: the constants of each, named as `profile.NAMES` lists them."""
