"""Structured logs on stderr: console lines for people, JSON lines for machines. Event names are those of the events.

Levels: 0 quiet (errors and warnings), 1 normal (what concerns the run), 2 verbose (each job), 3 everything.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from fluxbatch.model.events import JobRequeued
from fluxbatch.model.state import Charge
from fluxbatch.telemetry.catalogue import CATALOGUE
from fluxbatch.telemetry.events import to_dict
from fluxbatch.telemetry.redact import clean
from fluxbatch.telemetry.without import without

with without("rich"):  # its tracebacks, and pygments with them, for whoever wants them: a fifth of what starting costs
    import structlog

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from fluxbatch.model.events import Event

__all__ = ["LogFormat", "LogObserver", "make_logger"]

LogFormat = Literal["text", "json"]

_LEVELS: Final = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG, 3: logging.NOTSET}
_NUMBERS: Final = {name.lower(): number for name, number in logging.getLevelNamesMapping().items()}
_DULL: Final = frozenset({"sha256", "bytes", "width", "height", "request_id", "simulated", "charge", "usd", "asked"})
"""of no interest to a person who watches"""


def make_logger(
    stream: TextIO, *, form: LogFormat = "text", verbosity: int = 1, colors: bool = False, **context: str
) -> structlog.typing.FilteringBoundLogger:
    """A logger of its own (nothing global is touched), with ``context`` on every line."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=16, pad_level=False)
    )
    stamp = structlog.processors.TimeStamper(
        fmt="iso" if form == "json" else "%H:%M:%S", utc=form == "json", key="at" if form == "json" else "timestamp"
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(stream),
        processors=[structlog.processors.add_log_level, stamp, _printable, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS.get(verbosity, logging.NOTSET)),
        context_class=dict,
    )
    # bound in any case: what is not bound yet would be so anew for each line, also for those that nobody sees
    return logger.bind(**(context if form == "json" else {}))


class LogObserver:
    """The ``Observer`` port as log lines. ``each_image``: the run is small enough to tell of each stored image."""

    def __init__(
        self, logger: structlog.typing.FilteringBoundLogger, *, form: LogFormat = "json", each_image: bool = False
    ) -> None:
        self._logger = logger
        self._dull = _DULL if form == "text" else frozenset()
        self.each_image = each_image

    def note(self, event: Event) -> None:
        """Log one event."""
        level = _NUMBERS[self._level(event)]
        if not self._logger.is_enabled_for(level):
            return
        facts = to_dict(event)
        name = facts.pop("event")
        for noise in ("at", "run_id"):
            facts.pop(noise, None)
        facts = {fact: value for fact, value in _flat(facts).items() if fact not in self._dull}
        self._logger.log(level, name, **facts)

    def _level(self, event: Event) -> str:
        if isinstance(event, JobRequeued) and event.charge is not Charge.NONE:
            return "warning"
        if event.name == "job.stored" and self.each_image:
            return "info"
        if event.name == "run.started" and self._dull:
            return "debug"  # a person was told in words
        return CATALOGUE[event.name].level


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Nested facts as one level; what says nothing is left out."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        if is_dataclass(value) and not isinstance(value, type):
            flat |= {inner: fact for inner, fact in asdict(value).items() if inner not in {"mtime_ns", "fingerprint"}}
        else:
            flat[name] = value
    return {
        name: round(fact, 3) if isinstance(fact, float) else fact
        for name, fact in flat.items()
        if fact not in (None, "")
    }


def _printable(_: Any, __: str, facts: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What comes from manifests and answers is hostile text to a terminal and a log reader."""
    for name, value in facts.items():
        if isinstance(value, str) and name not in {"timestamp", "at"}:
            facts[name] = clean(str(value), limit=1000)
    return facts
