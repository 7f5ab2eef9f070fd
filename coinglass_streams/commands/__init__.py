"""One file a subcommand: its flags, its settings, and the call into the package that does the work."""
