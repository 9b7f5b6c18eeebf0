"""What holds for every test: one backend, a clean environment, no way out to the network, no blocking of the loop."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import hypothesis
import pytest
from blockbuster import BlockBuster

from tests.browsing import ARGS, CHROMIUM, Complaints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

    from tests.app.stage import Api

# ------------------------------------------------------------------------------------------------------- hypothesis
# No deadline: a busy CI machine is slow for reasons that aren't in the code. In CI every run tries the same examples,
# so that a change fails for what it changed; elsewhere they are new each time, and that is how bugs are found.
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


# ---------------------------------------------------------------------------------------------------------- asyncio
@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, object]]:
    """The backend of every async test. Session-wide, so that async fixtures of any scope may use it."""
    return "asyncio", {}


# --------------------------------------------------------------------------------------------- blocking of the loop
# Where code of ours may block the event loop on purpose: the call as blockbuster names it → (end of the file's path,
# functions). Each entry says why the wait is bounded and short, or why a thread would cost more than it saves.
ALLOWED: dict[str, list[tuple[str, set[str]]]] = {
    # Not ours: the coverage tool's own bookkeeping, where simulator and test run on threads of one process.
    "threading.Lock.acquire": [("coverage/collector.py", {"lock_data"})],
    # An image that comes inside an answer goes to a spool as it arrives: 256 KB at most, into the page cache.
    # A line of a plan, of a few hundred bytes, likewise.
    "io.BufferedRandom.write": [
        ("fluxbatch/adapters/http/answer.py", {"_take"}),
        ("fluxbatch/app/outline.py", {"_note"}),
    ],
    # The spool is made by the standard library, which looks at the path if the filesystem has no nameless files.
    # Of paths that are absolute already, as those of a gallery, nothing is asked of the system.
    "os.path.abspath": [
        ("fluxbatch/adapters/http/provider.py", {"_make_spool"}),
        ("fluxbatch/report/gallery/jobs.py", {"_picture"}),
    ],
    # Giving up a landing removes its file at once: it must do so while being cancelled, when nothing can be awaited.
    "os.unlink": [
        ("fluxbatch/adapters/disk/landing.py", {"discard"}),
        ("fluxbatch/testing/sink.py", {"consume"}),  # a fake, with the engine in its stack
    ],
    # The fakes of images that come inside an answer, likewise: the port speaks of files.
    "io.BufferedReader.read": [("fluxbatch/testing/sink.py", {"consume"})],
    "io.BufferedWriter.write": [("fluxbatch/testing/provider.py", {"_spooled"})],
    "os.write": [
        # One piece of a download, 256 KB at most, into the page cache: a thread for each costs more than twice as much.
        ("fluxbatch/adapters/disk/landing.py", {"write"}),
        # Some lines of a log, into the page cache.
        ("fluxbatch/adapters/disk/events.py", {"_write"}),
    ],
}

# Public fakes and the virtual-time loop: under that loop they are in every stack, and would put the tests' own file
# access on trial. What they call in other rooms is still judged.
NOT_JUDGED = ["fluxbatch.testing"]


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """Make a blocking call of fluxbatch on the event loop fail. A test may ask for it and lift single functions."""
    guard = BlockBuster("fluxbatch", excluded_modules=NOT_JUDGED)
    for call, places in ALLOWED.items():
        for file, functions in places:
            guard.functions[call].can_block_in(file, functions)
    guard.activate()
    try:
        yield guard
    finally:
        guard.deactivate()


# ------------------------------------------------------------------------------------------------------ environment
AMBIENT = (
    "FLUXBATCH_",
    "APIYI_",
    "XDG_",  # would lead past HOME
    *("AWS_", "OSS_", "ALIBABA_CLOUD_", "GOOGLE_", "AZURE_"),  # somebody's own object stores
    "GITHUB_",  # these two: output has another form in CI, and a test that means that says so
    "CI",
)


@pytest.fixture(scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _clean_environment(_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's keys, proxies and settings out, for child processes too."""
    for name in list(os.environ):
        if name.startswith(AMBIENT) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(_home))
    monkeypatch.setenv("NO_COLOR", "1")


# ---------------------------------------------------------------------------------------------------------- network
class OutsideConnectionError(Exception):
    """A test tried to reach another machine. Not an ``OSError``: code under test must not take it for an outage."""


_outside: list[str] = []


def _is_loopback(host: object) -> bool:
    if host in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_loopback or mapped.is_unspecified


def _refuse_outside(event: str, arguments: tuple[object, ...]) -> None:
    if event not in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        return
    sock, address = arguments
    if not isinstance(sock, socket.socket) or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    if isinstance(address, tuple) and not _is_loopback(address[0]):
        _outside.append(f"{event} {address}")
        raise OutsideConnectionError(_outside[-1])


sys.addaudithook(_refuse_outside)


@pytest.fixture(autouse=True)
def _no_way_out() -> Iterator[None]:
    """Fail the test even if the code under test swallowed the refusal."""
    _outside.clear()
    yield
    assert not _outside, f"connections to other machines: {_outside}"


# ------------------------------------------------------------------------------------------------------ filesystems
@pytest.fixture
def readonly(tmp_path: Path) -> tuple[str, ...]:
    """A command by which others are started for whom the folder is on a filesystem that nobody can write."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: only Linux has filesystems that one may mount for oneself")
    options = ["--mount", "--propagation", "private", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && exec "$@"'
    via = ("unshare", *options, "sh", "-c", mount, str(tmp_path))
    tried = subprocess.run([*via, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine lets nobody mount a folder: {tried.stderr}")
    return via


# ----------------------------------------------------------------------------------------------- simulator, browser
# What only some tests need is imported by those: it takes longer than most of the others run.
@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The simulator, quick and plain."""
    from tests.app.stage import serving

    with serving(tmp_path_factory.mktemp("simulator")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real one; not every machine has it (``needs_chromium``)."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=20_000)  # of a busy machine
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(locale="en-GB", viewport={"width": 1200, "height": 800})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that must have nothing to complain of."""
    page, complaints = context.new_page(), Complaints()
    complaints.watch(page)
    yield page
    assert not complaints
