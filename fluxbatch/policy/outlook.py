"""What hours and a budget leave of a plan: whether something would be sent now, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

    from fluxbatch.policy.allowance import Allowance
    from fluxbatch.policy.window import Window

__all__ = ["Outlook"]

_CENT_FRACTION: Final = 1e-9


@dataclass(slots=True)
class Outlook:
    """How things stand at a moment, and which images fit into what is left. Moments are epoch seconds.

    Attributes:
        now: the moment.
        window: the hours, None if any will do.
        allowance: the budget, None if there is none.
        spent_usd: of the present period of the allowance, maybe-billed included.
        fits: images that fit into what is left, of those that were counted, in order, up to the first that doesn't.
        over: images behind that one, itself included.
    """

    now: float
    window: Window | None = None
    allowance: Allowance | None = None
    spent_usd: float = 0.0
    fits: int = 0
    over: int = 0
    _counted_usd: float = 0.0

    def count(self, usd: float | None) -> None:
        """One more image to make; None: of unknown price, with which no budget can be kept."""
        after = self._counted_usd + (usd or 0.0)
        beyond = self.allowance is not None and (usd is None or after > self.left_usd + _CENT_FRACTION)
        if self.over or beyond:
            self.over += 1
        else:
            self._counted_usd, self.fits = after, self.fits + 1

    @property
    def is_open(self) -> bool:
        """Whether it is an hour in which something is sent."""
        return self.window is None or self.window.is_open(self.now)

    @property
    def left_usd(self) -> float:
        """USD of the budget that are left in this period; 0 without one."""
        return 0.0 if self.allowance is None else max(0.0, self.allowance.usd - self.spent_usd)

    def as_dict(self) -> dict[str, Any]:
        """As data: ``window`` and ``budget``, None where there is none; moments in ISO 8601."""
        window, allowance = self.window, self.allowance
        return {
            "window": None
            if window is None
            else {
                "hours": str(window),
                "open": self.is_open,
                "changes_at": _iso(window.changes_at(self.now), window.zone),
            },
            "budget": None
            if allowance is None
            else {
                "usd": allowance.usd,
                "period": allowance.period,
                "begins": _iso(allowance.begins(self.now), allowance.zone),
                "ends": _iso(allowance.ends(self.now), allowance.zone),
                "spent_usd": round(self.spent_usd, 6),
                "left_usd": round(self.left_usd, 6),
            },
        }

    def lines(self) -> Iterator[str]:
        """In words for people; about images, as far as any were counted."""
        window, allowance, images = self.window, self.allowance, self.fits + self.over
        if window is not None:
            change = f"{window.local(window.changes_at(self.now))}, in {window.wait(self.now)}"
            if self.is_open:
                yield f"--window {window} is open now, and closes at {change}"
            else:
                yield f"--window {window} is closed{': nothing is sent now' if images else ''}; it opens at {change}"
        if allowance is not None:
            spent = f"${self.spent_usd:.2f} of the ${allowance.usd:.2f} of {allowance.words(self.now)} are spent"
            yield f"--budget: {spent}, ${self.left_usd:.2f} are left{self._fitting(images)}"

    def _fitting(self, images: int) -> str:
        if not images:
            return ""
        if not self.over:
            return f": enough for {'the image' if images == 1 else f'all {images:,} images'}"
        return f": enough for {self.fits:,} of {images:,} images"


def _iso(moment: float, zone: tzinfo | None) -> str:
    return datetime.fromtimestamp(moment, zone).astimezone(zone).isoformat(timespec="seconds")
