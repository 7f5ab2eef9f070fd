"""From the raw topics to results: decoding, windows, aggregates, in transactions, with Faust around them."""
