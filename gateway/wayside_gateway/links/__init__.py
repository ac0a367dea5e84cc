"""Links: whatever carries bytes between nodes and the gateway."""
