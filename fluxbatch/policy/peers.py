"""Whether a slow transfer is to be cut and resumed: only if its host is quick for everyone else."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

__all__ = ["PeerRule", "Peers", "Slow", "Transfer"]

_MOST_HOSTS: Final = 64
_MOST_ENDED: Final = 64
_MOST_CUT: Final = 1024
_PARTS: Final = 4
"""a window is looked at in so many parts: its quickest part is what a transfer is judged by"""
_INSTANT_S: Final = 0.001
"""what came in less has no rate that could be told"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRule:
    """When a transfer is slow.

    Attributes:
        window_s: seconds that it must have been slow for, and in which the others are looked at.
        share: slower than this share of what the others have.
        others: fewer of them say nothing.
        most_cuts: of one URL, so that a host that is slow for one image does not keep it in circles.
        spare_s: seconds that the URL must live on, for the next try to begin in.
    """

    window_s: float = 10.0
    share: float = 0.1
    others: int = 3
    most_cuts: int = 2
    spare_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Slow:
    """Why a transfer is cut: bytes a second, its own at best and the median of the others."""

    own: float
    others: float


@dataclass(eq=False, slots=True)
class Transfer:
    """A transfer under way.

    Attributes:
        url: as the lease has it.
        host: that sends it.
        begun: when it was asked for, monotonic seconds.
        first: bytes that were there before.
        size: bytes that are there now.
        whole: bytes of the whole image, None if the host doesn't say.
        resumable: the next try can go on where this one is cut.
    """

    url: str
    host: str
    begun: float
    first: int
    size: int
    whole: int | None
    resumable: bool
    _marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_PARTS + 1))

    def __post_init__(self) -> None:
        self._marks.append((self.begun, self.first))

    @property
    def marked_at(self) -> float:
        """When its size was last noted."""
        return self._marks[-1][0]

    @property
    def watched_since(self) -> float:
        """The beginning of what is known of its recent past."""
        return self._marks[0][0]

    def mark(self, now: float) -> None:
        """Note its size."""
        self._marks.append((now, self.size))

    def best(self) -> float:
        """Bytes a second in the quickest part of its recent past."""
        parts = pairwise(self._marks)
        return max(((size - before) / (at - since) for (since, before), (at, size) in parts), default=0.0)

    def rate_since(self, moment: float, now: float, *, least_s: float) -> float | None:
        """Bytes a second since then; None if so short a time is known of it that this says nothing."""
        for at, size in self._marks:
            if moment <= at <= now - least_s:
                return (self.size - size) / (now - at)
        return None


@dataclass(slots=True)
class _Host:
    under_way: set[Transfer] = field(default_factory=set)
    ended: deque[tuple[float, float, str]] = field(default_factory=lambda: deque(maxlen=_MOST_ENDED))
    """when each was begun, bytes a second, and what it was"""


class Peers:
    """What the transfers of each host tell about one another. ``now`` is monotonic seconds.

    The others count only for what they had while the slow one was slow: a host, or our line, that was quick a minute
    ago and is slow for everybody now must not have all its transfers cut.
    """

    def __init__(self, rule: PeerRule | None = None) -> None:
        self._rule = rule or PeerRule()
        self._part_s = self._rule.window_s / _PARTS
        self._hosts: dict[str, _Host] = {}
        self._cuts: dict[str, int] = {}

    def begin(
        self, url: str, host: str, *, begun: float, size: int, whole: int | None = None, resumable: bool = False
    ) -> Transfer:
        """Follow a transfer that was asked for at ``begun``; it must be given to ``end``, whatever comes of it."""
        transfer = Transfer(url, host, begun, size, size, whole, resumable)
        # kept in order of use, so that the first ones are those that can be forgotten
        self._hosts[host] = known = self._hosts.pop(host, None) or _Host()
        known.under_way.add(transfer)
        self._forget_hosts()
        return transfer

    def grew(self, transfer: Transfer, size: int, now: float, *, left_s: float) -> Slow | None:
        """The transfer has ``size`` bytes now. Returns why it is to be cut, if it is; the cut is counted.

        Args:
            transfer: as ``begin`` gave it.
            size: bytes that are there.
            now: monotonic seconds.
            left_s: seconds that the URL still lives.
        """
        transfer.size = size
        if now - transfer.marked_at < self._part_s:
            return None
        transfer.mark(now)
        slow = self._judge(transfer, now) if self._may_cut(transfer, now, left_s) else None
        if slow is not None:
            self._cuts[transfer.url] = self._cuts.pop(transfer.url, 0) + 1
            if len(self._cuts) > _MOST_CUT:
                del self._cuts[next(iter(self._cuts))]
        return slow

    def end(self, transfer: Transfer, now: float) -> None:
        """The transfer is over, well or not."""
        host = self._hosts[transfer.host]
        host.under_way.discard(transfer)
        rate = (transfer.size - transfer.first) / max(_INSTANT_S, now - transfer.begun)
        host.ended.append((transfer.begun, rate, transfer.url))

    def _may_cut(self, transfer: Transfer, now: float, left_s: float) -> bool:
        return (
            transfer.resumable
            and now - transfer.watched_since >= self._rule.window_s
            and left_s >= self._rule.spare_s
            and self._cuts.get(transfer.url, 0) < self._rule.most_cuts
        )

    def _judge(self, transfer: Transfer, now: float) -> Slow | None:
        rates = self._others(transfer, now)
        if len(rates) < self._rule.others or transfer.whole is None:
            return None
        # of an even number the lower one: in doubt, the host is slow
        median = sorted(rates)[(len(rates) - 1) // 2]
        own = transfer.best()
        # what remains, at its own pace, against all of it at the pace of the others
        again_pays = (transfer.whole - transfer.size) * median > transfer.whole * own
        return Slow(own, median) if own < self._rule.share * median and again_pays else None

    def _others(self, transfer: Transfer, now: float) -> list[float]:
        """Rates of the others in the time that the transfer is judged by."""
        host, since = self._hosts[transfer.host], transfer.watched_since
        rates = [rate for begun, rate, url in host.ended if begun >= since and url != transfer.url]
        for other in host.under_way - {transfer}:
            rate = other.rate_since(since, now, least_s=self._part_s)
            if rate is not None:
                rates.append(rate)
        return rates

    def _forget_hosts(self) -> None:
        if len(self._hosts) <= _MOST_HOSTS:
            return
        for name in list(self._hosts)[:-_MOST_HOSTS]:
            if not self._hosts[name].under_way:
                del self._hosts[name]
