"""The ledger in SQLite."""

from fluxbatch.adapters.ledger.sqlite import SqliteLedger

__all__ = ["SqliteLedger"]
