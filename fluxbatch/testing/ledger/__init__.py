"""A ledger in memory, with the rules of the one on disk."""

from fluxbatch.testing.ledger.memory import MemoryLedger

__all__ = ["MemoryLedger"]
