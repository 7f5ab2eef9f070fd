"""The command `coinglass-streams`: the one place that sees producer, processors and sandbox together."""
