"""Faust, made exact: batches, transactions and recovery. Knows nothing of what is computed in it."""
