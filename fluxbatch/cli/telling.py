"""Who is told of a run, and where: a terminal, a log, a page, CI."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from fluxbatch.cli.serving import tell_link

if TYPE_CHECKING:
    from fluxbatch.app.live import LivePage
    from fluxbatch.app.request import Hooks
    from fluxbatch.cli.ci import CiReports
    from fluxbatch.cli.display import Display
    from fluxbatch.telemetry.logs import LogFormat

__all__ = ["display_for", "hooks_for", "page_for"]

_LIVE_EVERY_S: Final = 0.25
_TERMINAL_EVERY_S: Final = 2.0
_LOG_EVERY_S: Final = 10.0


def display_for(options: dict[str, Any]) -> Display | None:
    """A live display, where a person watches a terminal that can show one."""
    plain = options["quiet"] or options["log_format"] != "text" or os.environ.get("CI", "") not in {"", "false", "0"}
    if plain or not sys.stderr.isatty() or os.environ.get("TERM", "") in {"", "dumb", "unknown"}:
        return None
    from fluxbatch.cli.display import Display

    return Display()


def page_for(options: dict[str, Any]) -> LivePage | None:
    """The live page, served from here on. Its link is told also where it is quiet: there is no other way in."""
    if options["serve"] is None:
        return None
    from fluxbatch.app.live import LivePage

    page = LivePage(options["serve"])
    page.open()
    tell_link(page.link, is_open=page.is_open, as_json=options["log_format"] == "json")
    return page


def hooks_for(
    options: dict[str, Any], run_id: str, display: Display | None, page: LivePage | None, reports: CiReports
) -> Hooks:
    """Who is told what of the run."""
    from fluxbatch.app.request import Hooks
    from fluxbatch.cli.talk import Talk
    from fluxbatch.telemetry.logs import LogObserver, make_logger

    form: LogFormat = options["log_format"]
    verbosity = 0 if options["quiet"] else 1 + options["verbose"]
    terminal = sys.stderr.isatty()
    logger = make_logger(
        display or sys.stderr, form=form, verbosity=verbosity, colors=terminal and not _no_colour(), run_id=run_id
    )
    log = LogObserver(logger, form=form)
    talk = Talk(
        logger,
        log,
        form=form,
        yes=options["yes"],
        free=options["simulate"],
        max_cost=options["max_cost"],
        run_id=run_id,
        capped=bool(options["budget"]),
    )
    return Hooks(
        observers=[log] if page is None else [log, page],
        page=page,
        confirm=talk.confirm,
        warn=None if options["quiet"] else talk.warn,
        waiting=talk.waiting,
        started=talk.started,
        progress=talk.progress if display is None else display.show,
        progress_every_s=_LIVE_EVERY_S if display is not None else _TERMINAL_EVERY_S if terminal else _LOG_EVERY_S,
        settled=reports.settled if reports.wanted else None,
        signals=True,
    )


def _no_colour() -> bool:
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
