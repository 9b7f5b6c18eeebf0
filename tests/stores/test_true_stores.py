"""The same against stores that nobody here wrote: Ceph's S3 gateway, and Azure's emulator.

A server of ours stands in for Google's: no emulator of its XML API holds to generations.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import obstore
import pytest
import requests
from obstore.store import AzureStore, GCSStore, S3Store

from fluxbatch.adapters.stores.probe import probe
from fluxbatch.ports import Presence
from fluxbatch.simulator import Faults
from fluxbatch.testing import make_job, make_png
from fluxbatch.testing.conformance import case_name, sink
from tests.app.stage import Api, Ran, serving, sha256, wait_for, write_rows
from tests.counterparts.programs import HOW
from tests.stores import azurite, ceph
from tests.stores.gcsserver import Account, gcs_serving
from tests.stores.test_runs import ODD
from tests.stores.test_store_sink import DiskRig, make_sink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from blockbuster import BlockBuster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BUCKET = "pictures"
FAULTS = {
    "429": 0.04,
    "500": 0.02,
    "reset-before-body": 0.01,
    "reset": 0.01,
    "truncated-json": 0.01,
    "download-truncated": 0.05,
    "download-corrupt": 0.03,
    "download-html": 0.02,
}


@dataclass
class Place:
    """A true store, and someone else who gets at its objects.

    Attributes:
        environment: what leads there.
        wrong: what of it is different for one whose secret is wrong.
        away: likewise if nobody is there.
    """

    scheme: str
    store: S3Store | AzureStore | GCSStore
    environment: dict[str, str]
    wrong: dict[str, str]
    away: dict[str, str]

    def read(self, key: str) -> bytes | None:
        try:
            return bytes(obstore.get(self.store, key).bytes())
        except FileNotFoundError:
            return None


@pytest.fixture(scope="module")
def rgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if tool := ceph.missing():
        pytest.skip(f"{tool} is not installed (apt-get install radosgw ceph-mon ceph-osd)")
    with ceph.gateway(tmp_path_factory.mktemp("ceph")) as endpoint:
        store = S3Store(
            BUCKET,
            endpoint=endpoint,
            access_key_id=ceph.KEY,
            secret_access_key=ceph.SECRET,
            client_options={"allow_http": True},
        )
        assert requests.put(obstore.sign(store, "PUT", "", timedelta(minutes=1)), timeout=30).status_code == 200
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": ceph.KEY,
            "AWS_SECRET_ACCESS_KEY": ceph.SECRET,
        }
        wrong = {"AWS_SECRET_ACCESS_KEY": "d3Jvbmc="}
        yield Place("s3", store, environment, wrong, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if azurite.TOOL is None:
        pytest.skip(f"azurite is not there: {HOW}")
    with azurite.emulator(tmp_path_factory.mktemp("azurite"), BUCKET) as environment:
        store = AzureStore(
            BUCKET,
            account_name=azurite.ACCOUNT,
            account_key=azurite.KEY,
            endpoint=environment["AZURE_STORAGE_ENDPOINT"],
            client_options={"allow_http": True},
        )
        wrong = {"AZURE_STORAGE_ACCOUNT_KEY": "d3Jvbmc="}
        yield Place("az", store, environment, wrong, {"AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1/x"})


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("google")
    with gcs_serving(Account.make(folder), BUCKET) as server:
        store = GCSStore(
            BUCKET,
            service_account=str(server.account.file),
            base_url=server.endpoint,
            client_options={"allow_http": True},
        )
        wrong = {"GOOGLE_APPLICATION_CREDENTIALS": str(Account.make(folder, "another").file)}
        yield Place("gs", store, server.environment, wrong, {"GOOGLE_BASE_URL": "http://127.0.0.1:1"})


@pytest.fixture(params=["rgw", "azure", "google"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    found: Place = request.getfixturevalue(request.param)
    for name, value in found.environment.items():
        monkeypatch.setenv(name, value)
    return found


class TrueRig(DiskRig):
    def __init__(self, place: Place, prefix: str, folder: Path) -> None:
        super().__init__(folder)
        self._place, self._prefix = place, prefix
        self.sink = make_sink(f"{place.scheme}://{BUCKET}/{prefix}", folder, patience_s=5)

    def read(self, file: str) -> bytes | None:
        return self._place.read(f"{self._prefix}/{file}")

    def alter(self, file: str, data: bytes) -> None:
        obstore.put(self._place.store, f"{self._prefix}/{file}", data)
        self.sink.look_again()

    def remove(self, file: str) -> None:
        obstore.delete(self._place.store, f"{self._prefix}/{file}")
        self.sink.look_again()

    @contextmanager
    def full(self) -> Iterator[None]:
        bucket = self.sink.bucket
        away = make_sink(f"{self._place.scheme}://nowhere-at-all", self._folder / "away", patience_s=1).bucket
        self.sink.bucket = self.sink._uploads._bucket = away
        yield
        self.sink.bucket = self.sink._uploads._bucket = bucket


@pytest.mark.parametrize("case", sink.CASES, ids=case_name)
async def test_true_sink(case: sink.Case, place: Place, tmp_path: Path, blockbuster: BlockBuster) -> None:
    count = 0
    blockbuster.deactivate()  # the other one who gets at the objects blocks

    @contextmanager
    def make() -> Iterator[TrueRig]:
        nonlocal count
        count += 1
        rig = TrueRig(place, f"{case_name(case)}/{count}", tmp_path / f"state-{count}")
        rig.sink.bucket.bare_etags = place.scheme == "s3"  # which a run finds out by its probe
        yield rig

    await case(make)


async def test_a_true_store_holds_to_conditions(place: Place, tmp_path: Path, blockbuster: BlockBuster) -> None:
    blockbuster.deactivate()
    bucket = make_sink(f"{place.scheme}://{BUCKET}/probed", tmp_path, patience_s=5).bucket
    bucket.creates = bucket.updates = False
    await probe(bucket)
    assert (bucket.creates, bucket.updates) == (True, True)
    assert not [name async for page in bucket.pages() for name, _ in page]


async def test_odd_names_are_what_they_are(place: Place, tmp_path: Path, blockbuster: BlockBuster) -> None:
    blockbuster.deactivate()
    url = f"{place.scheme}://{BUCKET}/odd names"
    jobs = [replace(make_job(n), filename=f"in {n}/{name}") for n, name in enumerate(ODD)]
    one, other = make_sink(url, tmp_path / "one"), make_sink(url, tmp_path / "other")
    for number, job in enumerate(jobs):
        landing = await one.land()
        landing.write(make_png(number))
        await landing.commit(job.filename, job)
    found = await other.known(jobs)
    assert {job_id: stored.filename for job_id, stored in found.items()} == {job.id: job.filename for job in jobs}
    assert await other.check(list(found.values())) == [Presence.SAME] * len(ODD)
    assert [await other.remove(stored) for stored in found.values()] == [True] * len(ODD)


def run(api: Api, place: Place, manifest: Path, state: str, *more: object, out: str = "") -> Ran:
    out = out or f"{place.scheme}://{BUCKET}/night of {manifest.parent.name}"
    return api.run(manifest, "-o", out, "--state", state, "--json", "--yes", *more, cwd=manifest.parent, timeout=200)


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_a_night_killed_twice(place: Place, tmp_path: Path) -> None:
    """Two hundred jobs with faults all over: every object there, digests right, spend within what was billed."""
    manifest = write_rows(tmp_path / "jobs.jsonl", 200)
    faults = Faults(rates=FAULTS)
    with serving(tmp_path / "sim", faults=faults) as api:
        api.env |= place.environment
        out = f"{place.scheme}://{BUCKET}/night of {tmp_path.name}"
        for made in (40, 110):
            with api.running(manifest, "-o", out, "--state", "state", "--yes", cwd=tmp_path) as child:
                wait_for(lambda wanted=made: len(api.sim.calls) >= wanted, seconds=90)  # type: ignore[misc]
                child.kill()
            api.settle()
        done = run(api, place, manifest, "state")
        for _ in range(5):
            if done.code:  # what was maybe billed twice over, by the faults; each asking allows one more
                done = run(api, place, manifest, "state", "--retry", "unknown_outcome")
        lines = lines_of(tmp_path / "state")
        assert (done.code, done.summary["stored"]) == (0, 200), done.err
        for line in lines:
            data = place.read(f"night of {tmp_path.name}/{line['file']}")
            assert data is not None
            assert (sha256(data), len(data)) == (line["sha256"], line["bytes"])
        billed = sum(api.billed().values())
        charged, unknown = (sum(line[name] for line in lines) for name in ("charged", "unknown_charges"))
        assert charged <= billed <= charged + unknown
        again = run(api, place, manifest, "an empty machine")
        assert (again.code, again.summary["cached"], again.summary["requests"]) == (0, 200, 0), again.err


def test_what_changed_is_made_anew_in_its_place(place: Place, tmp_path: Path) -> None:
    """By the machine that made it, and by one that knows it from the listing alone."""
    manifest = write_rows(tmp_path / "jobs.jsonl", 4)
    with serving(tmp_path / "sim") as api:
        api.env |= place.environment
        run(api, place, manifest, "state")
        for state, words in (("state", "Number two"), ("an empty machine", "The second one")):
            key = f"night of {tmp_path.name}/job-002.jpg"
            before = place.read(key)
            rows = manifest.read_text().splitlines()
            rows[2] = json.dumps(json.loads(rows[2]) | {"prompt": words})
            manifest.write_text("\n".join(rows))
            done = run(api, place, manifest, state)
            assert (done.code, done.summary["cached"], done.summary["requests"]) == (0, 3, 1), done.err
            now = place.read(key)
            assert now is not None
            assert (now != before, sha256(now)) == (True, lines_of(tmp_path / state)[2]["sha256"])


def test_what_can_not_be_stored_costs_nothing(place: Place, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "jobs.jsonl", 3)
    for env, out, said in (
        (place.wrong, "", "credentials"),
        ({}, f"{place.scheme}://nowhere-at-all/x", "there is no bucket 'nowhere-at-all'"),
        (place.away, "", "can't be reached"),
    ):
        with serving(tmp_path / f"sim {said[:5]}") as api:
            api.env |= place.environment | env
            done = run(api, place, manifest, f"state {said[:5]}", out=out)
            assert done.code == 3, done.err
            assert said in done.err
            assert not api.sim.calls


def test_photos_and_signatures_of_a_true_store(place: Place, tmp_path: Path) -> None:
    from tests.app.stage import PHOTOS

    obstore.put(place.store, "in/cup.png", (PHOTOS / "cup.png").read_bytes())
    ref = f"{place.scheme}://{BUCKET}/in/cup.png"
    manifest = tmp_path / "jobs.json"
    manifest.write_text(json.dumps({"jobs": [{"id": "a", "prompt": "Image 1", "images": [ref]}]}))
    with serving(tmp_path / "sim") as api:
        api.env |= place.environment
        done = run(api, place, manifest, "state")
        assert done.code == 0, done.err
        assert api.sim.calls[0].inputs[0]["sha256"] == sha256(PHOTOS / "cup.png")
    bucket = make_sink(f"{place.scheme}://{BUCKET}", tmp_path / "sink").bucket
    url = anyio.run(bucket.sign, "in/cup.png", 60)
    assert requests.get(url, timeout=10).content == (PHOTOS / "cup.png").read_bytes()
