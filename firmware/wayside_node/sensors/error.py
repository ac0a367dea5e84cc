"""What a driver says when it has no reading."""


class SensorError(Exception):
    """`reason` is a short stable word, as the node's fault event carries it; the driver begins anew at the next start.

    no_ack       nothing answers at the address
    bus          the bus is held low, or does not end a transfer
    wrong_chip   something answers, and is another chip
    trimming     the chip's calibration cannot be right: all zeros or ones
    timeout      the conversion did not end
    skipped      the chip gave its mark for a measurement it did not make
    implausible  a value outside what the sensor can measure
    stuck        a beam has been blocked for longer than anyone stands
    overflow     more edges came than could be kept: the count is too low
    """

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason
