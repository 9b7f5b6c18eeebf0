"""Concurrency and rate limits of a key: decisions without waiting."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .config import SimulatorConfig

RPM_WINDOW_S = 60


class Limits:
    """Counts the generations in flight by model, and the requests of the last minute."""

    def __init__(self, config: SimulatorConfig) -> None:
        """Everything is idle at the start."""
        self._config = config
        self._busy: Counter[str] = Counter()
        self._starts: deque[float] = deque()
        self.peak = 0
        """Most generations in flight at once, all models together."""

    @property
    def in_flight(self) -> int:
        """Generations under way."""
        return self._busy.total()

    @contextmanager
    def slot(self, model: str, *, monotonic: float, now: float) -> Iterator[None]:
        """Hold a place for one generation.

        :raises ApiError: 429, no place is free.
        """
        limit = self._config.concurrency_of(model)
        if self._busy[model] >= limit:
            message = f"token concurrency limit reached: {limit} requests of {model} are in progress"
            raise self.too_many("token_concurrency_limit_reached", message, now)
        self._count_start(monotonic, now)
        self._busy[model] += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            yield
        finally:
            self._busy[model] -= 1

    def _count_start(self, monotonic: float, now: float) -> None:
        rpm = self._config.rpm
        if rpm is None:
            return
        while self._starts and self._starts[0] <= monotonic - RPM_WINDOW_S:
            self._starts.popleft()
        if len(self._starts) >= rpm:
            raise self.too_many("rate_limit_exceeded", f"rate limit reached: {rpm} requests a minute", now)
        self._starts.append(monotonic)

    def too_many(self, code: str, message: str, now: float) -> ApiError:
        """A 429, with the wait announced in the form that the configuration says."""
        wait = self._config.retry_after
        if wait is None:
            return ApiError(429, code, message)
        if self._config.retry_after_form == "body":
            return ApiError(429, code, message, extra={"retry_after": wait})
        if self._config.retry_after_form == "date":
            value = format_datetime(datetime.fromtimestamp(now + wait, UTC), usegmt=True)
        else:
            value = f"{wait:g}"
        return ApiError(429, code, message, headers={"Retry-After": value})
