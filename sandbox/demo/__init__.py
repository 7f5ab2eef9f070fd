"""Everything in one terminal: Kafka, a simulated feed, producer, worker, and the finals as they come.

settings (what was asked for) → children (producer and worker, each a process) → finals and numbers (what there is to
see) → screen (how it is shown) → run (the order of starting, watching and stopping).
"""
