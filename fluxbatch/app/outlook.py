"""What hours and a budget leave, by what a folder's ledger says was spent."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from fluxbatch.app.calendar import Calendar
from fluxbatch.model.state import JobState
from fluxbatch.policy.allowance import spent_since
from fluxbatch.policy.outlook import Outlook

if TYPE_CHECKING:
    from fluxbatch.adapters.ledger import SqliteLedger
    from fluxbatch.ports import Clock
    from fluxbatch.settings import Settings

__all__ = ["outlook_of", "under_way"]

_MOST_OPEN: Final = 10_000
"""requests; no more than were in flight at a time"""


async def under_way(ledger: SqliteLedger) -> tuple[int, float]:
    """Requests on record that were not answered, and their price in USD: they are under way, or were maybe billed."""
    records = await ledger.in_state(JobState.SUBMITTED, limit=_MOST_OPEN)
    return len(records), sum(record.job.price or 0.0 for record in records)


async def outlook_of(settings: Settings, ledger: SqliteLedger | None, clock: Clock, *, open_usd: float) -> Outlook:
    """How things stand now.

    Args:
        settings: of hours and budget.
        ledger: None for a folder that isn't there yet.
        clock: says when now is.
        open_usd: the price of requests ``under_way``, which count as spent.

    Raises:
        UsageError: the hours or the budget can't be understood.
    """
    calendar = await anyio.to_thread.run_sync(partial(Calendar.of, settings))
    found = Outlook(clock.now(), calendar.window, calendar.allowance)
    if calendar.allowance is not None and ledger is not None:
        begins = calendar.allowance.begins(found.now)
        found.spent_usd = spent_since(await ledger.runs(begins), begins) + open_usd
    return found
