"""The command line: one file a command; arguments become settings, errors become exit codes."""

from fluxbatch.cli.main import main

__all__ = ["main"]
