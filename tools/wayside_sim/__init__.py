"""A simulated board for the real firmware: start at `board.SimulatedBoard`; docs/simulator.md says how to use it."""
