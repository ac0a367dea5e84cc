"""One module for each command of `wayside`: its options and what it prints. The work is done elsewhere."""
