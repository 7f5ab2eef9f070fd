"""Kafka's administration, as producer, processors and the command share it: reaching a broker, making topics."""
