"""Money is counted in integer micro-USD, so that sums are exact in any order; it is a double only on output. Pure."""

MICROS_PER_USD = 1_000_000
