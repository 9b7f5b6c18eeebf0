"""``python -m fluxbatch``."""

from fluxbatch.cli import main

if __name__ == "__main__":
    main()
