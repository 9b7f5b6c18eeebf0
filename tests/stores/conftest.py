from __future__ import annotations

from tests.app.conftest import readonly

__all__ = ["readonly"]
