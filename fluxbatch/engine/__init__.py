"""The engine: decides synchronously, acts through ports. It knows no HTTP, no SQLite, no files."""

from fluxbatch.engine.desk import Desk
from fluxbatch.engine.engine import Engine

__all__ = ["Desk", "Engine"]
