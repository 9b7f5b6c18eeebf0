"""From what is asked for to a plan that was agreed to, and is on record."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fluxbatch.app.calls import in_thread
from fluxbatch.app.keyless import key_missing, lacks_key, warn
from fluxbatch.app.overlays import Remaking
from fluxbatch.app.survey import Survey
from fluxbatch.app.taking_in import gate
from fluxbatch.errors import UsageError

if TYPE_CHECKING:
    from fluxbatch.app.calendar import Calendar
    from fluxbatch.app.folder_state import HeldFolder
    from fluxbatch.app.request import RunRequest
    from fluxbatch.engine import Desk
    from fluxbatch.planning.findings import Findings
    from fluxbatch.planning.intake import Intake
    from fluxbatch.planning.quote import Quote

__all__ = ["agree"]


async def agree(
    request: RunRequest, intake: Intake, findings: Findings, folder: HeldFolder, desk: Desk, calendar: Calendar
) -> Quote:
    """Decide, ask, and write the plan down.

    Raises:
        ManifestError: jobs are invalid.
        UsageError: something is missing, or the plan is not the one that was reviewed; nothing was sent.
    """
    survey = Survey(intake, folder.ledger, folder.sink, request.settings, request.run_id)
    remaking = Remaking(intake)
    quote = await survey.quote(findings, remaking.note)
    gate(intake, request, findings)
    warn(request, findings)
    _refuse(request, quote)
    if quote.make and calendar.window is not None and calendar.is_closed(desk.clock):
        # now, and not only once it runs: what nobody was asked about must not be sent
        desk.ask_to_stop(calendar.window.stop(desk.clock.now()))
    elif request.hooks.confirm is not None:
        await in_thread(partial(request.hooks.confirm, quote))
    await remaking.put_on_record(request, folder.paths, folder.sink)
    await survey.enlist(folder.ledger)
    return quote


def _refuse(request: RunRequest, quote: Quote) -> None:
    """A plan that can't be run as it was asked for."""
    if request.expect_digest and quote.digest != request.expect_digest:
        raise UsageError(
            f"the plan is not the one that was reviewed: its digest is {quote.digest}, not {request.expect_digest}",
            remedy="look at it again with fluxbatch plan; nothing was sent",
        )
    if quote.make and lacks_key(request):
        raise key_missing(quote)
    settings = request.settings
    cap = "--budget" if settings.budget else "--max-cost"
    if quote.unpriced and (settings.budget or settings.max_cost_usd is not None):
        raise UsageError(
            f"{cap} can't be kept: {quote.unpriced} images are of a model without a known price",
            remedy=f"name its price with --price MODEL=USD, or leave {cap} out",
        )
