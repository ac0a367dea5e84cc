"""Chips, modelled at the level of their registers."""
