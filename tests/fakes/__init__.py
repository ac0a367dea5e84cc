"""Parts that stand in for others in tests: links, nodes, clocks, flash."""
