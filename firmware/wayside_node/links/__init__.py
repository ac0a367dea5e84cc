"""Links: bytes to and from a gateway. Each drives a `Session`; the rest of the node sees `base.Link` only."""
