"""`python -m coinglass_streams` is the command."""

from coinglass_streams.cli import main

if __name__ == "__main__":  # the processes of `replay --jobs` import this module too
    main()
