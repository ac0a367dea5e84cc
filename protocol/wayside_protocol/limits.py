"""Every limit of the protocol, with its effect. Both sides hold to them; tests try both sides of each."""

FRAME_MAX = 1024  # bytes of one frame before COBS; a longer one is dropped and counted
TAG_LEN = 8  # AES-CCM-16-64-128 (RFC 9053 §4.2): 64-bit tag
KEY_LEN = 16
NONCE_LEN = 13
HEAD_MAX = 1 + 1 + 5 + 5 + 5 + 3  # array head, kind, three 32-bit numbers, byte string head
PLAIN_MAX = FRAME_MAX - HEAD_MAX - TAG_LEN  # bytes of one message

SAMPLES_MAX = 255  # samples in a record
CHANNELS_MAX = 16  # channels in a set
INTERVAL_MAX_S = 86_400
VALUE_LIMIT = 1 << 27  # |value| in steps; keeps zigzag deltas in a 32-bit board's small integers
TEXT_MAX = 200  # bytes of a log line, an event's text or a name

DEPTH_MAX = 4  # nesting of CBOR; our own messages need 3
ITEMS_MAX = 256  # CBOR items in one message

RANGES_MAX = 32  # ranges in one ack
HELD_MAX = 16  # ranges in one welcome
WINDOW_MAX = 64  # records in flight; a node may use fewer

U16_MAX = 0xFFFF
U32_MAX = 0xFFFFFFFF
