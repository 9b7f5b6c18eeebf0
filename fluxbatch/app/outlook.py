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

__all__ = ["outlook_of"]

_MOST_OPEN: Final = 10_000
"""requests; no more than were in flight at a time"""


async def outlook_of(settings: Settings, ledger: SqliteLedger | None, clock: Clock) -> Outlook:
    """How things stand now; ``ledger``: None for a folder that isn't there yet.

    Requests on record that were not answered count as spent: they are under way, or were maybe billed.

    Raises:
        UsageError: the hours or the budget can't be understood.
    """
    calendar = await anyio.to_thread.run_sync(partial(Calendar.of, settings))
    found = Outlook(clock.now(), calendar.window, calendar.allowance)
    if calendar.allowance is not None and ledger is not None:
        begins = calendar.allowance.begins(found.now)
        found.spent_usd = spent_since(await ledger.runs(begins), begins)
        under_way = await ledger.in_state(JobState.SUBMITTED, limit=_MOST_OPEN)
        found.spent_usd += sum(record.job.price or 0.0 for record in under_way)
    return found
