"""A simulated CoinGlass feed: seeded markets, the protocol, and faults to switch on.

In the order the data takes: instruments (what is traded) → market (frames) → pace (how many, when) → faults (what goes
wrong) → requests (what a client asks) → client (what is written to it) → server.
"""
