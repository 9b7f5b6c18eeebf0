"""Why as many requests may be in flight as may be."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["LimitCause"]


class LimitCause(StrEnum):
    """What changed the limit last."""

    START = "start"
    """nothing yet: the first guess, or what an earlier run has found"""
    MODELS = "models"
    """another model was asked for"""
    GROWTH = "growth"
    """answers got through while it was used in full"""
    PROBE = "probe"
    """one more than was found to work, tried from time to time"""
    REFUSED = "refused"
    """a rate limit was met"""
    UNDONE = "undone"
    """fewer were refused as well: it was not their number, and the limit is what it was before"""
