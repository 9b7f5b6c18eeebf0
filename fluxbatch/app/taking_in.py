"""What run, plan and the others begin with: sources staged and checked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from fluxbatch.adapters.fitting import PillowDecoder
from fluxbatch.adapters.stores import StoreIndex
from fluxbatch.app.cache import photo_memo
from fluxbatch.errors import UsageError
from fluxbatch.planning.intake import Intake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fluxbatch.app.request import RunRequest
    from fluxbatch.planning.findings import Findings

__all__ = ["check", "choose", "gate", "take_in"]


@asynccontextmanager
async def take_in(request: RunRequest, findings: Findings) -> AsyncIterator[Intake]:
    """The intake of a request, not yet staged, with the memory of this user."""
    intake = await anyio.to_thread.run_sync(partial(_open, request, findings))
    try:
        yield intake
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(intake.close)


def check(intake: Intake, request: RunRequest, findings: Findings) -> None:
    """Check what was staged, and choose what the request is about. Blocks.

    Raises:
        ManifestError: something is wrong.
        UsageError: nothing is asked for.
    """
    intake.check()
    choose(intake, request, findings)
    gate(intake, request, findings)


def choose(intake: Intake, request: RunRequest, findings: Findings) -> None:
    """Choose, of what was staged, what the request is about. Blocks.

    Raises:
        ManifestError: something is wrong, and nothing was found for that reason.
        UsageError: there is no such job.
    """
    settings = request.settings
    wanted = intake.choose(settings.only, sample=settings.sample, seed=settings.sample_seed)
    if settings.only and not wanted:
        gate(intake, request, findings)
        raise UsageError(f"--only {' '.join(settings.only)} matches no id", remedy="quote the pattern: 'mug-*'")


def gate(intake: Intake, request: RunRequest, findings: Findings) -> None:
    """Let nothing go on while anything is wrong, unless what is wrong may be left out.

    Raises:
        ManifestError: with all that is wrong.
        UsageError: there is nothing to do anything about.
    """
    if request.on_invalid == "error" or findings.fatal:
        findings.raise_if_errors()
    if intake.total == 0 and not findings.errors:
        raise UsageError("there are no jobs in what was given", remedy="see the README for a first manifest")


def _open(request: RunRequest, findings: Findings) -> Intake:
    return Intake(
        request.sources,
        findings=findings,
        memo=photo_memo(),
        prices=request.prices,
        decoder=PillowDecoder(),
        locks=not request.simulate,
        objects=StoreIndex(request.ca_file),
    )
