"""What `wayside bench` measures: bytes on the wire, a node's work for a batch, a gateway's work for a frame."""
