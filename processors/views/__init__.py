"""What a worker shows over HTTP: its tables as JSON, its health, its metrics, a dashboard."""
