"""From the feed to the raw topics: frames as they were received, and marks of what was heard."""
