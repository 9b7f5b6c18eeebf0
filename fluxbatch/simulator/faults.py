"""Faults to inject, by rate or by schedule, on both legs. What is listed here is what is known to happen.

A request gets one fault at most. Which one depends on the seed and on its number on its leg (the first is 1),
never on time, so a run can be repeated.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GENERATE_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "429": "rate_limit_exceeded; not billed",
        "500": "do_request_failed, before anything was made; not billed",
        "500-billed": "write_response_body_failed, after the image was made; billed",
        "502": "opens a window in which every request gets a 502 page; not billed",
        "503": "a 503 page; not billed",
        "503-no-channel": "model_not_found for a model that exists; not billed",
        "504": "a 504 page after the image was made; billed",
        "524": "the same as Cloudflare words it; billed",
        "reset-before-body": "connection reset before the body was read; not billed",
        "reset": "connection reset after the image was made; billed",
        "truncated-json": "200 with JSON that breaks off; billed",
        "empty-data": '200 with "data": []; billed',
        "error-in-200": "200 with an error object; not billed",
        "tail-stall": "the whole JSON, then the end of the stream comes late; billed",
        "moderation": "content_policy_violation; not billed",
        "quota": "insufficient_user_quota; not billed",
    }
)
DELIVERY_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "download-slow": "the bytes trickle in",
        "download-stall": "half the bytes, then none",
        "download-truncated": "the connection ends before the announced length",
        "download-reset": "connection reset half-way",
        "download-html": "200 with a web page",
        "download-empty": "200 with no bytes",
        "download-corrupt": "200 with wrong bytes in the middle",
        "download-403": "403 before the deadline",
        "download-404": "404 before the deadline",
        "download-redirect": "302 to a second signed URL",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """A plan of faults; empty: everything goes well. Durations are seconds."""

    rates: Mapping[str, float] = field(default_factory=dict)
    """Share of the requests of its leg, by kind; at most 1 in all on a leg."""
    schedule: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Numbers of the requests of its leg, by kind; goes before the rates."""
    seed: int = 0
    window_s: float = 2.0
    """How long a 502 window lasts (documented: up to a minute)."""
    stall_s: float = 60.0
    """How long a stall lasts (seen: 10 to more than 300)."""
    slow_s: float = 5.0
    """How long a slow download takes."""

    def __post_init__(self) -> None:
        """Refuse unknown kinds and impossible numbers.

        :raises ValueError: naming them.
        """
        for kind in (*self.rates, *self.schedule):
            if kind not in GENERATE_KINDS and kind not in DELIVERY_KINDS:
                raise ValueError(f"unknown fault {kind!r}; there are {', '.join((*GENERATE_KINDS, *DELIVERY_KINDS))}")
        for kind, rate in self.rates.items():
            if not 0 <= rate <= 1:
                raise ValueError(f"fault {kind}: the rate must be 0 to 1, not {rate:g}")
        for kinds in (GENERATE_KINDS, DELIVERY_KINDS):
            if (total := sum(self.rates.get(kind, 0) for kind in kinds)) > 1 + 1e-9:
                raise ValueError(f"the rates of {', '.join(kinds & self.rates.keys())} add up to {total:g}, above 1")
        for kind, numbers in self.schedule.items():
            if not numbers or min(numbers) < 1:
                raise ValueError(f"fault {kind}: requests are numbered from 1")
        if min(self.window_s, self.stall_s, self.slow_s) < 0:
            raise ValueError("window_s, stall_s and slow_s must not be negative")

    @classmethod
    def from_specs(cls, specs: Iterable[str], *, seed: int = 0) -> Self:
        """Read `KIND=RATE` and `KIND@N[,N…]`.

        :raises ValueError: naming the spec that can't be read.
        """
        rates: dict[str, float] = {}
        schedule: dict[str, frozenset[int]] = {}
        for spec in specs:
            kind, at, numbers = spec.partition("@")
            try:
                if at:
                    schedule[kind] = schedule.get(kind, frozenset()) | {int(number) for number in numbers.split(",")}
                else:
                    kind, _, rate = spec.partition("=")
                    rates[kind] = float(rate)
            except ValueError as error:
                raise ValueError(f"fault {spec!r} is neither KIND=RATE (429=0.1) nor KIND@N[,N] (reset@3,5)") from error
        return cls(rates=rates, schedule=schedule, seed=seed)

    def on_generate(self, number: int) -> str | None:
        """Fault of the POST with this number, or None."""
        return self._pick(GENERATE_KINDS, "generate", number)

    def on_delivery(self, number: int) -> str | None:
        """Fault of the GET of a result with this number, or None."""
        return self._pick(DELIVERY_KINDS, "delivery", number)

    def _pick(self, kinds: Mapping[str, str], leg: str, number: int) -> str | None:
        for kind in kinds:
            if number in self.schedule.get(kind, ()):
                return kind
        threshold, draw = 0.0, draw_fraction(f"fault:{self.seed}:{leg}:{number}")
        for kind in kinds:
            threshold += self.rates.get(kind, 0)
            if draw < threshold:
                return kind
        return None


def draw_fraction(key: str) -> float:
    """A number from 0 to below 1 that depends on the key alone: chance that can be repeated."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48
