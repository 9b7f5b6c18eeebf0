"""`fluxbatch simulate`: serve the API simulator."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    import anyio

    from fluxbatch.simulator import Faults, Simulator, SimulatorConfig

KEY_VARIABLE = "FLUXBATCH_SIMULATOR_KEY"
GRACE_S = 5.0
"""Seconds that requests in flight get when the simulator ends."""

EPILOG = """\b
Examples:
  fluxbatch simulate
  fluxbatch simulate --latency 1 --concurrency 6 --retry-after 5
  fluxbatch simulate --fault 429=0.1 --fault reset@3,5 --fault-seed 7
  fluxbatch simulate --port 0 --ready-json --until-stdin-closes

Images are made here, cost nothing and are marked as simulated. Image URLs in requests are never fetched.
"""


class _CannotStart(click.ClickException):
    exit_code = 2


class _FolderTaken(click.ClickException):
    exit_code = 75


class Duration(click.ParamType[float]):
    """Seconds, or a number with a unit: 90, 90s, 10m, 1h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)?", str(value).strip())
        if not match:
            self.fail(f"{value!r} is no duration: write 90, 90s, 10m or 1h", param, ctx)
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]


class Latency(click.ParamType[tuple[str, float]]):
    """A scale (0.1, 1) or fixed seconds (2s)."""

    name = "scale|seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        """The setting and its value."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(s)?", str(value).strip())
        if not match:
            self.fail(f"{value!r} is neither a scale (0.1, 1) nor seconds (2s)", param, ctx)
        return ("latency_s" if match[2] else "latency", float(match[1]))


@click.command(epilog=EPILOG, short_help="Serve the API simulator.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Loopback address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0: any free port.")
@click.option(
    "--delivery-port", type=click.IntRange(0, 65535), help="Serve the results on a port of their own; 0: any free one."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep results, call log and URLs in this folder, across restarts.  [default: a temporary one]",
)
@click.option(
    "--latency",
    type=Latency(),
    default="0.1",
    show_default=True,
    help="Scale of the documented latencies (1 is realistic), or fixed seconds such as 2s.",
)
@click.option(
    "--concurrency", type=click.IntRange(1), default=24, show_default=True, help="Generations at once for a model."
)
@click.option("--rpm", type=click.IntRange(1), help="Requests a minute.  [default: no limit]")
@click.option("--url-life", type=Duration(), default="10m", show_default=True, help="How long result URLs live.")
@click.option("--retry-after", type=click.FloatRange(0), help="Seconds announced with 429.  [default: not announced]")
@click.option("--credit", type=click.FloatRange(0), metavar="USD", help="Balance.  [default: no end]")
@click.option(
    "--max-body-mb", type=click.FloatRange(0, min_open=True), default=32, show_default=True, help="Largest request."
)
@click.option(
    "--answer",
    type=click.Choice(["url", "b64_json"]),
    default="url",
    show_default=True,
    help="b64_json: the image inside the answer, as other hosts do.",
)
@click.option("--redirect-delivery", is_flag=True, help="Put a redirect in front of every result.")
@click.option("--strict-dimensions", is_flag=True, help="Refuse inputs that are no multiple of 16 or above 4 MP.")
@click.option(
    "--fault",
    "fault_specs",
    multiple=True,
    metavar="KIND=RATE|KIND@N[,N]",
    help="Inject a fault by rate or into the Nth request. Repeatable; `--fault list` shows the kinds.",
)
@click.option("--fault-seed", type=int, default=0, show_default=True, help="Another seed hits other requests.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--ready-json", is_flag=True, help="Print one JSON line on stdout once requests are served.")
@click.option("--until-stdin-closes", is_flag=True, help="End when stdin does: for programs that start a simulator.")
def simulate(*, fault_specs: tuple[str, ...], fault_seed: int, latency: tuple[str, float], **options: Any) -> None:
    """Serve a simulator of the FLUX image API on this machine.

    It checks every rule of the API, bills as the API does, and answers with real images that show their inputs.

    The API key is sk-simulator unless the variable FLUXBATCH_SIMULATOR_KEY gives another.
    """
    if "list" in fault_specs:
        _list_faults()
        return
    config = _config(options, latency)
    faults = _faults(fault_specs, fault_seed)

    import anyio

    log = _log_json if options["log_format"] == "json" else _log_text
    how = {"ready_json": options["ready_json"], "until_stdin_closes": options["until_stdin_closes"]}
    anyio.run(lambda: _serve(config, faults, log, **how))


def _config(options: dict[str, Any], latency: tuple[str, float]) -> SimulatorConfig:
    from fluxbatch.simulator import DEMO_KEY, SimulatorConfig

    names = ("host", "port", "delivery_port", "data", "concurrency", "rpm", "url_life", "retry_after", "max_body_mb")
    settings = {name: options[name] for name in (*names, "answer", "redirect_delivery", "strict_dimensions")}
    settings[latency[0]] = latency[1]
    key = os.environ.get(KEY_VARIABLE) or DEMO_KEY
    try:
        return SimulatorConfig(api_key=key, credit_usd=options["credit"], grace_s=GRACE_S, **settings)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _faults(specs: tuple[str, ...], seed: int) -> Faults:
    from fluxbatch.simulator import Faults

    try:
        return Faults.from_specs(specs, seed=seed)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _list_faults() -> None:
    from fluxbatch.simulator import DELIVERY_KINDS, GENERATE_KINDS

    for title, kinds in (("Requests:", GENERATE_KINDS), ("Downloads:", DELIVERY_KINDS)):
        click.echo(title)
        for kind, meaning in kinds.items():
            click.echo(f"  {kind:20} {meaning}")


async def _serve(
    config: SimulatorConfig,
    faults: Faults,
    log: Callable[[dict[str, Any]], None],
    *,
    ready_json: bool,
    until_stdin_closes: bool,
) -> None:
    import anyio

    from fluxbatch.simulator import FolderInUseError, PortInUseError, Simulator

    simulator = Simulator(config, faults=faults, listener=log)
    try:
        # before the port is open: who waits for it may send a signal at once
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            await simulator.start()
            _announce(simulator, ready_json=ready_json)
            await _until_end(signals, until_stdin_closes=until_stdin_closes)
        # from here on a second signal ends the process at once
    except PortInUseError as error:
        raise _CannotStart(f"{error}: choose another one with --port, or --port 0 for any free one") from error
    except FolderInUseError as error:
        raise _FolderTaken(f"{error}: choose another one with --data") from error
    except OSError as error:
        raise _CannotStart(f"can't start: {error}") from error
    finally:
        await simulator.stop()


async def _until_end(signals: Any, *, until_stdin_closes: bool) -> None:
    import anyio

    ended = anyio.Event()
    if until_stdin_closes:
        _watch_stdin(ended)
    async with anyio.create_task_group() as tasks:

        async def await_signal() -> None:
            async for _ in signals:
                ended.set()

        tasks.start_soon(await_signal)
        await ended.wait()
        tasks.cancel_scope.cancel()


def _watch_stdin(ended: anyio.Event) -> None:
    """A thread of its own, which the end of the process need not wait for."""
    import asyncio

    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        with suppress(RuntimeError):  # the loop has ended for another reason
            loop.call_soon_threadsafe(ended.set)

    Thread(target=read, daemon=True).start()


def _announce(simulator: Simulator, *, ready_json: bool) -> None:
    from fluxbatch.simulator import DEMO_KEY

    key = DEMO_KEY if simulator.api_key == DEMO_KEY else f'"${KEY_VARIABLE}"'
    curl = (
        f"curl {simulator.base_url}/images/generations -H 'Content-Type: application/json' \\\n"
        f'       -H "Authorization: Bearer {key.strip(chr(34))}" \\\n'
        '       -d \'{"model": "flux-2-pro", "prompt": "A lighthouse at dusk"}\''
    )
    click.echo(
        "Simulating the FLUX image API: nothing is sent anywhere, nothing costs money.\n\n"
        f"  base URL  {simulator.base_url}\n"
        f"  API key   {key}\n\n"
        f"  FLUXBATCH_API_KEY={key} fluxbatch run jobs.yaml --base-url {simulator.base_url}\n"
        f"  {curl}\n\n"
        "Ctrl-C ends it.",
        err=True,
    )
    if ready_json:
        ready = {
            "event": "ready",
            "base_url": simulator.base_url,
            "delivery_url": simulator.delivery_url,
            "pid": os.getpid(),
        }
        print(json.dumps(ready), flush=True)


def _log_json(event: dict[str, Any]) -> None:
    _write({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **event})


def _write(event: dict[str, Any]) -> None:
    print(json.dumps(event), file=sys.stderr, flush=True)


def _log_text(event: dict[str, Any]) -> None:
    fault = f"  fault {event['fault']}" if event["fault"] else ""
    if event["event"] == "generate":
        count = f"{event['images']} image{'' if event['images'] == 1 else 's'}"
        cost = f"  ${event['usd']:g}" if event["usd"] else ""
        what = f"{event['model'] or '-'}  {count}  {event['outcome']}  {event['seconds']:.1f} s{cost}"
    else:
        what = f"download  {event['status']}"
    print(f"{datetime.now(UTC).astimezone():%H:%M:%S}  {what}{fault}", file=sys.stderr, flush=True)
