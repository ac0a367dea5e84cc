"""The `wayside` command."""
