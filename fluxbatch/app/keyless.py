"""A run without an API key: it says what it would cost, and that is all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fluxbatch.app.calls import tell
from fluxbatch.app.survey import Survey
from fluxbatch.app.taking_in import gate
from fluxbatch.app.unseen import sink_to_plan_with
from fluxbatch.errors import UsageError
from fluxbatch.report.summary import count, usd

if TYPE_CHECKING:
    from fluxbatch.app.folder import Paths
    from fluxbatch.app.request import RunRequest
    from fluxbatch.planning.findings import Findings
    from fluxbatch.planning.intake import Intake
    from fluxbatch.planning.quote import Quote

__all__ = ["key_missing", "lacks_key", "refuse_keyless", "warn"]

_SHOWN_WARNINGS: Final = 20


def lacks_key(request: RunRequest) -> bool:
    """Whether nothing can be sent for want of a key."""
    return not request.simulate and not request.api_key


def key_missing(quote: Quote) -> UsageError:
    """The complaint, with what a run would have made and cost."""
    words = f"{count(quote.make, 'image')} to make, about {usd(quote.usd)}"
    if quote.unpriced:
        words += f" and {quote.unpriced} of unknown price"
    return UsageError(
        f"there is no API key: {words}; nothing was sent",
        remedy="set FLUXBATCH_API_KEY (or APIYI_API_KEY, or --api-key-file FILE); without one: --simulate",
    )


async def refuse_keyless(request: RunRequest, intake: Intake, paths: Paths, findings: Findings) -> None:
    """Plan for a folder that isn't there yet, staged and checked, without making it.

    Raises:
        ManifestError: jobs are invalid.
        UsageError: there is something to make.
    """
    from fluxbatch.app.outline import NoLedger  # and with it all that plan needs: a run with a key starts without

    sink = await sink_to_plan_with(paths, findings, kind="live", ca_file=request.ca_file)
    quote = await Survey(intake, NoLedger(), sink, request.settings).quote(findings)
    gate(intake, request, findings)
    warn(request, findings)
    if quote.make:
        raise key_missing(quote)


def warn(request: RunRequest, findings: Findings) -> None:
    """Show what the checks found, as far as it keeps nothing from being run."""
    found = findings.warnings + findings.errors
    if request.hooks.warn is not None and found:
        tell(request.hooks.warn, findings.first(_SHOWN_WARNINGS), found)
