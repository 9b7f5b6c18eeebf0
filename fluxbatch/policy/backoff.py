"""How long to wait before the next try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from random import Random

__all__ = ["LONGEST_PAUSE_S", "delivery_delay_s", "outage_pause_s", "retry_delay_s"]

_RETRY_BASE_S: Final = 2.0
_RETRY_CAP_S: Final = 60.0
_CONGESTED_BASE_S: Final = 1.0
"""short, since the limiter says when there is room; a job that is refused again and again lets others go first"""
_FACTOR: Final = 3.0
_OUTAGE_BASE_S: Final = 5.0
_OUTAGE_CAP_S: Final = 240.0
"""apiyi advises 5, 15, 45 seconds after 503; an outage that goes on is asked after every few minutes"""
_DELIVERY_BASE_S: Final = 0.5
_DELIVERY_CAP_S: Final = 15.0
_SPREAD: Final = 0.25
"""share of a pause over which those who waited set off, so that they don't come back as a herd"""
LONGEST_PAUSE_S: Final = 120.0
"""a Retry-After beyond this is not obeyed to the letter: a stream of them must not pin the run"""


def retry_delay_s(failures: int, rng: Random, *, congested: bool = False, asked: float | None = None) -> float:
    """Seconds before a job is sent again, after ``failures`` (≥ 1) in a row: exponential, full jitter.

    ``asked`` is the API's own word (Retry-After): never less than that, and spread out behind it.
    """
    base, factor = (_CONGESTED_BASE_S, _FACTOR) if congested else (_RETRY_BASE_S, 2.0)
    ceiling = min(_RETRY_CAP_S, base * factor ** min(failures - 1, 16))
    if asked is None:
        return rng.uniform(0.0, ceiling)
    asked = _sane(asked)
    return asked + rng.uniform(0.0, max(1.0, asked * _SPREAD))


def outage_pause_s(episodes: int, asked: float | None = None) -> float:
    """Seconds to leave an API alone that has been away ``episodes`` (≥ 1) times in a row; grows to minutes.

    ``asked`` is its own word (Retry-After).
    """
    if asked is not None:
        return _sane(asked)
    return min(_OUTAGE_CAP_S, _OUTAGE_BASE_S * _FACTOR ** min(episodes - 1, 8))


def delivery_delay_s(failures: int, rng: Random, *, asked: float | None = None) -> float:
    """Seconds before a result is fetched again: short, since its URL is dying."""
    ceiling = min(_DELIVERY_CAP_S, _DELIVERY_BASE_S * 2.0 ** min(failures - 1, 8))
    delay = rng.uniform(ceiling / 2, ceiling)
    return delay if asked is None else max(delay, min(_sane(asked), _DELIVERY_CAP_S))


def _sane(asked: float) -> float:
    """Seconds within bounds; what is no number of seconds asks for nothing."""
    return min(asked, LONGEST_PAUSE_S) if asked > 0 else 0.0
