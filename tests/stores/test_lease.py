"""One run at a time in a place of a store: crashes lock nobody out, and two machines don't pay for the same jobs."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import orjson
import pytest

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.stores.lease import MARK, StoreLease
from fluxbatch.errors import FolderInUse, StorageError
from tests.app.stage import Api, Ran, serving, wait_for, write_rows
from tests.stores.s3server import Asked, S3Server, s3_serving
from tests.stores.test_store_sink import make_sink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blockbuster import BlockBuster

pytestmark = pytest.mark.slow

PLACE = "s3://pictures/shop"
KEY = f"shop/{MARK}"
BEAT_S = 0.1


@pytest.fixture(params=["with conditions", "without"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with s3_serving() as server:
        server.conditional = request.param == "with conditions"
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


class Machines:
    """Runs that want the same place; each machine has a state folder of its own."""

    def __init__(self, folder: Path, *, conditional: bool) -> None:
        self._folder, self._conditional = folder, conditional
        self.told: list[str] = []
        self.lost: list[str] = []
        self.away: list[StorageError] = []
        self.renewals = 0

    def lease(self, machine: str, run: str, *, life_s: float = 1.0) -> StoreLease:
        bucket = make_sink(PLACE, self._folder / run).bucket
        bucket.creates = bucket.updates = self._conditional
        times = {"beat_s": BEAT_S, "life_s": life_s, "settle_s": 0.3}
        return StoreLease(bucket, owner=machine, run_id=run, clock=SystemClock(), **times)

    async def take(self, lease: StoreLease) -> None:
        await lease.take(self.told.append)

    async def keep(self, lease: StoreLease) -> None:
        await lease.keep(renewed=self._count, lost=self.lost.append, away=self.away.append)

    def _count(self) -> None:
        self.renewals += 1


@pytest.fixture
def machines(server: S3Server, tmp_path: Path, blockbuster: BlockBuster) -> Machines:
    blockbuster.deactivate()  # clients are opened on the loop here
    return Machines(tmp_path, conditional=server.conditional)


async def test_a_mark_is_there_while_a_run_is(server: S3Server, machines: Machines) -> None:
    lease = machines.lease("one", "run-1")
    await machines.take(lease)
    mark = orjson.loads(server.objects[KEY].data)
    assert (mark["owner"], mark["run_id"], bool(mark["host"])) == ("one", "run-1", True)
    await lease.release()
    assert KEY not in server.objects
    await lease.release()
    assert not machines.told


async def test_a_run_that_is_alive_keeps_others_out(server: S3Server, machines: Machines) -> None:
    first, second = machines.lease("one", "run-1"), machines.lease("two", "run-2")
    await machines.take(first)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machines.keep, first)
        with pytest.raises(FolderInUse, match=r"in use by the run run-1 on .*"):
            await machines.take(second)
        await second.release()
        assert KEY in server.objects, "it is none of theirs"
        tasks.cancel_scope.cancel()
    assert "the run run-1" in machines.told[0]
    assert not machines.lost


async def test_a_run_that_was_killed_locks_nobody_out(server: S3Server, machines: Machines) -> None:
    await machines.take(machines.lease("one", "run-1"))
    await machines.take(machines.lease("one", "run-2"))
    assert not machines.told, "the same state folder waits for nobody"
    begun = anyio.current_time()
    await machines.take(machines.lease("an empty machine", "run-3"))
    assert anyio.current_time() - begun >= 1.0
    assert "waiting up to 1 s" in machines.told[0]
    assert orjson.loads(server.objects[KEY].data)["run_id"] == "run-3"


async def test_a_run_that_was_taken_for_dead_stops(machines: Machines) -> None:
    """It slept, or its store was away for it alone."""
    first, second = machines.lease("one", "run-1"), machines.lease("two", "run-2", life_s=0.2)
    await machines.take(first)
    await machines.take(second)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machines.keep, second)
        with anyio.fail_after(5):
            await machines.keep(first)  # ends
        tasks.cancel_scope.cancel()
    [whose] = machines.lost
    assert whose.startswith("the run run-2 on ")


async def test_a_run_that_slept_through_another_stops(server: S3Server, machines: Machines) -> None:
    """The other one has ended since, and nothing of it is left."""
    first, second = machines.lease("one", "run-1", life_s=0.2), machines.lease("two", "run-2", life_s=0.2)
    await machines.take(first)
    await machines.take(second)
    await second.release()
    assert KEY not in server.objects
    assert not first.is_fresh, "nothing may be sent before it has looked"
    with anyio.fail_after(5):
        await machines.keep(first)
    assert machines.lost == ["another run, which has ended,"]
    assert KEY not in server.objects


async def test_a_run_that_slept_in_a_renewal_stops(server: S3Server, machines: Machines) -> None:
    """What it asked before it fell asleep is answered when the other one has come and gone."""
    if not server.conditional:
        pytest.skip("such a store writes what comes late")
    first, second = machines.lease("one", "run-1", life_s=0.6), machines.lease("two", "run-2", life_s=0.2)
    await machines.take(first)
    sent = threading.Event()

    def sleep(asked: Asked) -> float | None:
        if asked.method != "PUT" or sent.is_set():
            return None
        sent.set()
        return 2.0

    server.fault = sleep
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machines.keep, first)
        with anyio.fail_after(5):
            while not sent.is_set():
                await anyio.sleep(0.02)
        assert first.is_fresh
        begun = anyio.current_time()
        await machines.take(second)
        await second.release()
        assert anyio.current_time() - begun < 2.0, "the first one sleeps"
        with anyio.fail_after(5):
            while not (machines.lost or machines.renewals):
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    assert (machines.lost, machines.renewals) == (["another run, which has ended,"], 0)
    assert KEY not in server.objects


async def test_a_run_that_can_not_be_sure_of_its_place_waits(server: S3Server, machines: Machines) -> None:
    lease = machines.lease("one", "run-1", life_s=0.6)
    assert not lease.is_fresh
    await machines.take(lease)
    assert lease.is_fresh
    server.fault = lambda asked: 403 if asked.method == "PUT" else None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machines.keep, lease)
        with anyio.fail_after(5):
            while lease.is_fresh:
                await anyio.sleep(0.02)
            assert not machines.away, "others wait for longer than that"
            while not machines.away:
                await anyio.sleep(0.02)
            assert not lease.is_fresh
            server.fault, renewals = lambda _: None, machines.renewals
            while machines.renewals == renewals:
                await anyio.sleep(0.02)
        assert lease.is_fresh
        tasks.cancel_scope.cancel()
    assert not machines.lost


async def test_a_copied_state_folder_is_found_out(machines: Machines) -> None:
    first, copy = machines.lease("one", "run-1"), machines.lease("one", "run-2")
    await machines.take(first)
    await machines.take(copy)
    with anyio.fail_after(5):
        await machines.keep(first)
    assert len(machines.lost) == 1


async def test_of_those_that_begin_at_the_same_moment_one_goes_on(machines: Machines) -> None:
    """As two machines with the same line in their crontab do."""
    leases = [machines.lease(f"machine {n}", f"run-{n}") for n in range(4)]
    ahead: list[StoreLease] = []
    refused = 0

    async with anyio.create_task_group() as tasks:

        async def start(lease: StoreLease) -> None:
            nonlocal refused
            try:
                await machines.take(lease)
            except FolderInUse:
                refused += 1
                return
            ahead.append(lease)
            await machines.keep(lease)

        for lease in leases:
            tasks.start_soon(start, lease)
        with anyio.fail_after(20):
            while refused < 3:
                await anyio.sleep(0.05)
        tasks.cancel_scope.cancel()
    assert len(ahead) == 1
    assert not machines.lost


async def test_what_goes_wrong_with_a_renewal_ends_nothing(server: S3Server, machines: Machines) -> None:
    lease = machines.lease("one", "run-1")
    await machines.take(lease)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(machines.keep, lease)
        server.cut_after_put = 1  # written, and nobody is told
        await anyio.sleep(3 * BEAT_S)
        server.fault = lambda asked: 403 if asked.method == "PUT" else None
        await anyio.sleep(3 * BEAT_S)
        server.fault = lambda _: None
        server.objects.pop(KEY, None)
        with anyio.fail_after(5):
            while KEY not in server.objects:
                await anyio.sleep(0.02)
        tasks.cancel_scope.cancel()
    assert not machines.lost


@pytest.mark.parametrize("data", [b" ", b"{", b"[1]", b'{"owner": 7}', b'{"run_id":"\x1b[2J"}', b"x" * 100_000])
async def test_a_mark_that_makes_no_sense_is_watched_like_any_other(
    server: S3Server, machines: Machines, data: bytes
) -> None:
    server.put(KEY, data)
    await machines.take(machines.lease("one", "run-1", life_s=0.2))
    assert "\x1b" not in machines.told[0]
    assert orjson.loads(server.objects[KEY].data)["run_id"] == "run-1"


# ------------------------------------------------------------------------------------------------------- whole runs
@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with serving(tmp_path / "sim") as api:
        yield api


def run(api: Api, manifest: Path, state: str, *more: str) -> Ran:
    words = ("-o", PLACE, "--state", state, "--json", "--yes", *more)
    return api.run(manifest, *words, cwd=manifest.parent)


@contextmanager
def renewed(server: S3Server) -> Iterator[None]:
    """Somebody else's run, alive."""
    over = threading.Event()

    def renew() -> None:
        beat = 0
        while not over.wait(0.2):
            beat += 1
            mark = {"owner": "x", "run_id": "theirs", "host": "theirs\x1b[31m", "renewed_at": 0.0, "beat": beat}
            server.put(KEY, orjson.dumps(mark))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_run_leaves_a_place_to_another(api: Api, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "jobs.jsonl", 3)
    with s3_serving() as server:
        api.env |= server.environment
        with renewed(server):
            wait_for(lambda: KEY in server.objects)
            refused = run(api, manifest, "state")
            assert (refused.code, api.sim.requests) == (75, 0)
            assert f"{PLACE} is in use by the run theirs on theirs" in refused.err
            assert "--shared" in refused.err
            assert "\x1b" not in refused.err
            let_in = run(api, manifest, "state", "--shared")
            assert (let_in.code, let_in.summary["stored"]) == (0, 3), let_in.err
        del server.objects[KEY]
        assert run(api, manifest, "another").summary["cached"] == 3
        assert KEY not in server.objects, "nothing is left behind"


@pytest.mark.timeout(300)
def test_two_machines_with_the_same_line_in_their_crontab(tmp_path: Path) -> None:
    """One goes on. Once it falls asleep, the other waits until that is sure, and makes what is missing."""
    manifest = write_rows(tmp_path / "jobs.jsonl", 60)
    with s3_serving() as server, serving(tmp_path / "sim", latency_s=1.0) as api:
        api.env |= server.environment
        words = (manifest, "-o", PLACE, "--state", "one", "--yes", "--concurrency", "1")
        with api.running(*words, cwd=tmp_path) as first:
            wait_for(lambda: server.count("PUT", "shop/job") >= 3)
            refused = run(api, manifest, "two")
            assert refused.code == 75, refused.err
            assert "in use by the run" in refused.err
            with api.running(manifest, "-o", PLACE, "--state", "two", "--yes", cwd=tmp_path) as impatient:
                wait_for(lambda: "for a sign of life" in impatient.said)
                impatient.process.send_signal(signal.SIGTERM)
                assert impatient.finish().code == 143
            first.process.send_signal(signal.SIGSTOP)
            api.settle()
            stored = server.count("PUT", "shop/job")
            done = api.run(manifest, "-o", PLACE, "--state", "two", "--json", "--yes", cwd=tmp_path, timeout=200)
            assert (done.code, done.summary["stored"], done.summary["cached"]) == (0, 60, stored), done.err
            assert KEY not in server.objects
            first.process.send_signal(signal.SIGCONT)
            woken = first.finish()
        assert woken.code == 3
        assert "has taken s3://pictures/shop over" in woken.out
        assert server.objects["shop/results.jsonl"].data == (tmp_path / "two" / "results.jsonl").read_bytes()
        # of what was in flight when the first one fell asleep, the second can't know
        assert sum(api.billed().values()) <= 60 + 1, woken.err
        assert KEY not in server.objects
