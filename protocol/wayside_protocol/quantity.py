"""What can be measured: one row a quantity. The numbers are the wire's and never change meaning.

Values travel as integers in steps of 10**-decimals. `low` and `high` (in steps) are the plausible
range; they also fix the width of a column's first value, so they are frozen with the number.
Units are SenML's (RFC 8428 §12.1; secondary units of RFC 8798 where the primary one would need a
scale, such as hPa for Pa and ug/m3 for kg/m3).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NamedTuple

    class Quantity(NamedTuple):
        """A quantity: wire number, name, SenML unit, decimals of its step, kind, plausible range in steps."""

        number: int
        name: str
        unit: str
        decimals: int
        kind: int
        low: int
        high: int

else:
    from collections import namedtuple

    Quantity = namedtuple("Quantity", ("number", "name", "unit", "decimals", "kind", "low", "high"))

GAUGE = 0  # a state at a moment: coded as its first value and deltas
COUNT = 1  # what happened in the interval that ends at the sample: coded as it is

TEMPERATURE = 1
HUMIDITY = 2
PRESSURE = 3
PM2_5 = 4
WALKERS_IN = 5
WALKERS_OUT = 6

TABLE = (
    Quantity(TEMPERATURE, "temperature", "Cel", 2, GAUGE, -4000, 8500),  # BME280: -40 to 85 degrees
    Quantity(HUMIDITY, "humidity", "%RH", 1, GAUGE, 0, 1000),
    Quantity(PRESSURE, "pressure", "hPa", 1, GAUGE, 3000, 11000),  # BME280: 300 to 1100 hPa
    Quantity(PM2_5, "pm2_5", "ug/m3", 1, GAUGE, 0, 10000),
    Quantity(WALKERS_IN, "walkers_in", "count", 0, COUNT, 0, 10000),
    Quantity(WALKERS_OUT, "walkers_out", "count", 0, COUNT, 0, 10000),
)

BY_NUMBER = {q.number: q for q in TABLE}
BY_NAME = {q.name: q for q in TABLE}
