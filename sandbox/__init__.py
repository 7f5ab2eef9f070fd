"""A world to run in: an embedded Kafka, a simulated feed, and a demo that puts all of it in one terminal."""
