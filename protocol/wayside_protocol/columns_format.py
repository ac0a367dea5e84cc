"""The readings of a samples record as one bit string: each channel's column in turn.

Bits go most significant first. A column is

    parameter  4 bits: 0..13 the Rice parameter, 14 constant, 15 presence bitmap follows
    presence   only after 15: n bits, 1 = present, then the parameter again (0..14) if any is present
    first      only for a gauge: value - low in the quantity's width; all ones: 28 bits, value + 2**27
    rest       absent when constant (a gauge: every delta 0; a count: every value 0); else Rice codes of
               a gauge's zigzag deltas or of a count's values: q zeros, a one, `parameter` bits;
               16 zeros are an escape, and 30 bits follow

and the last byte is filled with zeros. The encoder's parameter is the cheapest one, escapes left out of
account, found by walking from the mean; `encode` allocates nothing once its scratch exists.
"""

from wayside_protocol.quantity import BY_NUMBER, COUNT

MISSING = -(1 << 29)  # in a row: no reading; outside VALUE_LIMIT, inside a 32-bit board's small integers

PARAMETER_BITS = 4
PARAMETER_MAX = 13
CONSTANT = 14
PRESENCE = 15
ESCAPE_ZEROS = 16
ESCAPE_BITS = 30
WIDE_BITS = 28  # a first value outside its quantity's range, offset by VALUE_LIMIT


def first_bits(low: int, high: int) -> int:
    """Width of a gauge's first value: all of low..high and one code to spare for the escape."""
    span = high - low + 1
    bits = 0
    while span >> bits:
        bits += 1
    return bits


# By quantity: is it a count, width of the first value, low, high. A tuple is quicker than a row's names.
FORMS = {number: (q.kind == COUNT, first_bits(q.low, q.high), q.low, q.high) for number, q in BY_NUMBER.items()}
