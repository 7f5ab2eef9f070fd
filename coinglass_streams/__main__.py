"""`python -m coinglass_streams` is the command."""

from coinglass_streams.cli import main

main()
