"""Options for runs that nobody watches: hours, a budget, and a word at the end."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fluxbatch.errors import UsageError
from fluxbatch.settings import KEY_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Notifier", "calendar_options", "nightly_options", "nightly_settings"]

_URL: Final = "FLUXBATCH_NOTIFY_URL"
_COMMAND_S: Final = 30.0
_SECRETS: Final = (*KEY_VARIABLES, _URL)
"""what a command has no need of"""

F = TypeVar("F", bound="Callable[..., Any]")

_ZONE: Final = click.option(
    "--tz",
    "timezone",
    metavar="ZONE",
    default="",
    help="Of --window and --budget, as Asia/Shanghai.  [default: this machine's]",
)
_CALENDAR: Final = (
    click.option(
        "--window",
        metavar="HH:MM-HH:MM",
        default="",
        help="The hours of `run --window`: say whether they are open, and when that changes.",
    ),
    _ZONE,
    click.option(
        "--budget",
        metavar="USD/PERIOD",
        default="",
        help="The budget of `run --budget`: say what is left of it, as 900/month.",
    ),
)
_OPTIONS: Final = (
    click.option(
        "--window",
        metavar="HH:MM-HH:MM",
        default="",
        help="Send in these hours alone, as 01:00-06:00 or 22:00-06:00; what is in flight when they end is finished,"
        " and the run ends (exit 3 with work left). Begun outside them, it only fetches what is paid for.",
    ),
    click.option("--wait", is_flag=True, help="Begun outside the window: wait until it opens."),
    _ZONE,
    click.option(
        "--budget",
        metavar="USD/PERIOD",
        default="",
        help="Never spend more in a day, week or month, as 900/month; counts all runs of this output folder,"
        " maybe-billed included.",
    ),
    click.option(
        "--metrics-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Write figures for Prometheus every few seconds, as its node exporter takes them (*.prom).",
    ),
    click.option(
        "--notify",
        is_flag=True,
        help=f"At the end, POST the summary as JSON to the URL in {_URL}.",
    ),
    click.option(
        "--notify-command",
        envvar="FLUXBATCH_NOTIFY_COMMAND",
        metavar="COMMAND",
        default="",
        help="At the end, run this with the summary as JSON on its standard input; no shell is involved"
        " (or FLUXBATCH_NOTIFY_COMMAND).",
    ),
)


def calendar_options(function: F) -> F:
    """Give a command that sends nothing those of these options that say when, and how much, is sent."""
    for option in reversed(_CALENDAR):
        function = option(function)
    return function


def nightly_options(function: F) -> F:
    """Give a command these options."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def nightly_settings(options: dict[str, Any]) -> dict[str, Any]:
    """What they say, by the names of the settings."""
    return {name: options[name] for name in ("window", "wait", "timezone", "budget") if name in options}


class Notifier:
    """Tells somebody what a run came to. Whatever becomes of that changes nothing of it.

    Address and command come from whoever starts the run, never from a manifest.

    Raises:
        UsageError: it is not clear whom to tell.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._url = self._checked_url() if options["notify"] else ""
        self._command = self._words(options["notify_command"])
        self._ca_file: Path | None = options["ca_file"]

    def tell(self, facts: Mapping[str, object]) -> None:
        """Send the news, as a JSON object."""
        if not self._url and not self._command:
            return
        import orjson

        from fluxbatch.telemetry.redact import printable_facts

        body = orjson.dumps(printable_facts(facts))
        for way in (self._post, self._call):
            try:
                way(body)
            except KeyboardInterrupt:  # in a hurry: the run itself is over
                return
            except Exception as error:  # noqa: BLE001  # its words may hold the address
                _say(f"nobody was told: {type(error).__name__}")

    def _post(self, body: bytes) -> None:
        if not self._url:
            return
        import anyio

        from fluxbatch.adapters.http.notice import post_notice

        lost = anyio.run(post_notice, self._url, body, self._ca_file)
        if lost:
            _say(f"the notification was not taken: {lost}")

    def _call(self, body: bytes) -> None:
        if not self._command:
            return
        import subprocess

        environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        try:
            # what it says is beside the matter: stdout is where our own results go
            done = subprocess.run(  # noqa: S603  # the words of whoever starts the run, without a shell
                self._command, input=body, stdout=2, env=environment, timeout=_COMMAND_S, check=False
            )
        except subprocess.TimeoutExpired:
            _say(f"--notify-command was ended after {_COMMAND_S:g} s")
        except OSError as error:
            _say(f"--notify-command {self._command[0]}: {error.strerror}")
        else:
            if done.returncode:
                _say(f"--notify-command ended with {done.returncode}")

    def _checked_url(self) -> str:
        text = os.environ.get(_URL, "").strip()
        if not text:
            raise UsageError(f"--notify: {_URL} is not set", remedy="put the URL there: it mostly holds a secret")
        if not text.startswith(("https://", "http://")):
            raise UsageError(f"--notify: what {_URL} holds is no http(s) address", remedy="it looks like https://…")
        return text

    def _words(self, command: str) -> list[str]:
        try:
            return shlex.split(command)
        except ValueError as error:
            raise UsageError(
                f"--notify-command: {error}", remedy="write it as for a shell, with matching quotes"
            ) from None


def _say(text: str) -> None:
    with suppress(OSError):  # nobody reads it any more
        click.echo(f"fluxbatch: {text}", err=True)
