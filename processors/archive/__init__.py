"""Raw topics as files, and back."""
