"""The Wayside wire protocol, version 1: bytes in, values out, no I/O.

One source for MicroPython (nodes) and CPython (gateway). `protocol/SPEC.md` is the text,
`protocol/wayside.cddl` the grammar. The only seam between the two runtimes is `aead`.
"""

VERSION = 1
