"""What is wrong with a setup, checked in the order of the data's way.

`run.py` looks at the world, all of it at once: `feed_look.py` at the feed, `kafka_look.py` at the broker, and so on.
What was seen is a value, and a pure function beside it says what it means: findings, each a line.
"""
