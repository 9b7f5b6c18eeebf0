"""Nights as their users run them: a catalogue into a store, with faults all over, killed, and from an empty machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import obstore
import pytest
import requests
from obstore.store import S3Store

from fluxbatch.simulator import Faults
from tests.app.stage import KEY, PHOTOS, Api, Ran, run_command, serving, sha256, wait_for
from tests.stores import ceph, s3server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET, PLACE = "pictures", "s3://pictures/shop/night"
SCENES = ("beach", "studio", "forest", "street")
PRODUCTS = 50
TENTH = {  # of requests, and of downloads
    "429": 0.04,
    "500": 0.02,
    "reset-before-body": 0.01,
    "reset": 0.015,
    "truncated-json": 0.015,
    "download-truncated": 0.04,
    "download-corrupt": 0.03,
    "download-html": 0.03,
}


@dataclass
class Store:
    """A store, and someone else who looks into it."""

    environment: dict[str, str]

    @property
    def client(self) -> S3Store:
        return S3Store(
            BUCKET,
            endpoint=self.environment["AWS_ENDPOINT_URL"],
            access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            client_options={"allow_http": True},
        )

    def read(self, key: str) -> tuple[bytes, dict[str, str]]:
        found = obstore.get(self.client, key)
        return bytes(found.bytes()), {name.lower(): value for name, value in found.attributes.items()}

    def names(self, prefix: str) -> set[str]:
        pages = obstore.list(self.client, prefix)
        return {one["path"].removeprefix(f"{prefix}/") for page in pages for one in page}


@pytest.fixture(params=["ours", "ceph"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Both check signatures and hold to conditions; one of them nobody here wrote."""
    if request.param == "ours":
        with s3server.s3_serving() as server:
            yield Store(server.environment)
        return
    if tool := ceph.missing():
        pytest.skip(f"{tool} is not installed (apt-get install radosgw ceph-mon ceph-osd)")
    with ceph.gateway(tmp_path / "ceph") as endpoint:
        found = Store(
            {
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ACCESS_KEY_ID": ceph.KEY,
                "AWS_SECRET_ACCESS_KEY": ceph.SECRET,
                "AWS_REGION": "us-east-1",
            }
        )
        made = requests.put(obstore.sign(found.client, "PUT", "", timedelta(minutes=1)), timeout=30)
        assert made.status_code == 200
        yield found


def write_shop(folder: Path, store: Store, products: int = PRODUCTS) -> Path:
    """Products, whose photos are in the store, times scenes."""
    photos = ("cup.png", "cat.webp", "grass.jpg")
    for photo in photos:
        obstore.put(store.client, f"in/{photo}", (PHOTOS / photo).read_bytes())
    rows = [f"P{number:03},Product {number},{photos[number % len(photos)]}" for number in range(products)]
    (folder / "products.csv").write_text("\n".join(["sku,name,photo", *rows]))
    catalog = {
        "rows": "products.csv",
        "matrix": {"scene": list(SCENES)},
        "id": "{{ sku }}-{{ scene }}",
        "prompt": "{{ name }} ({{ sku }}) from image 1 on a {{ scene }}",
        "images": [f"s3://{BUCKET}/in/{{{{ photo }}}}"],
    }
    path = folder / "shop.json"
    path.write_text(json.dumps({"version": 1, "defaults": {"model": "flux-2-klein-4b"}, "catalog": catalog}))
    return path


def of_the_night() -> tuple[str, ...]:
    now = datetime.now(UTC)
    hours = "-".join(f"{now + timedelta(hours=hour):%H:%M}" for hour in (-2, 2))
    return "--window", hours, "--tz", "UTC", "--budget", "900/month"


def night(api: Api, folder: Path, *more: str, state: str = "state") -> Ran:
    words = ("shop.json", "-o", PLACE, "--state", state, "--yes", "--json", *of_the_night(), *more)
    return api.run(*words, cwd=folder, timeout=240)


def lines_of(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state / "results.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_catalogue_killed_twice_is_there_and_paid_for_once(store: Store, tmp_path: Path) -> None:
    write_shop(tmp_path, store)
    total = PRODUCTS * len(SCENES)
    with serving(tmp_path / "sim", faults=Faults(rates=TENTH)) as api:
        api.env |= store.environment
        for share in (0.2, 0.55):
            words = ("shop.json", "-o", PLACE, "--state", "state", "--yes", *of_the_night())
            with api.running(*words, cwd=tmp_path) as child:
                wait_for(lambda wanted=share * total: len(api.sim.calls) >= wanted, seconds=120)  # type: ignore[misc]
                child.kill()
            api.settle()
        done = night(api, tmp_path)
        retries = 0
        while done.code and retries < 5:  # maybe billed twice over, by the faults; each asking allows one more
            retries += 1
            done = night(api, tmp_path, "--retry", "unknown_outcome")
        assert (done.code, done.summary["stored"], done.summary["pending"]) == (0, total, 0), done.err

        lines = lines_of(tmp_path / "state")
        calls = {call.request_id: call for call in api.sim.calls}
        assert {line["id"] for line in lines} == {f"P{n:03}-{scene}" for n in range(PRODUCTS) for scene in SCENES}
        for line in lines:
            data, said = store.read(f"shop/night/{line['file']}")
            assert (sha256(data), len(data)) == (line["sha256"], line["bytes"])
            assert (said["sha256"], said["fingerprint"], said["job"]) == (
                line["sha256"],
                line["fingerprint"],
                line["id"],
            )
            assert data == api.served(calls[line["request_id"]].result), "what was served for its last request"
        assert store.names("shop/night") == {"results.jsonl", *(line["file"] for line in lines)}, "and nothing else"
        assert store.read("shop/night/results.jsonl")[0] == (tmp_path / "state" / "results.jsonl").read_bytes()
        assert not [*(tmp_path / "state" / "spool").iterdir(), *(tmp_path / "state" / "landing").iterdir()]

        # the account against the call log: job by job, and in money
        billed = api.billed()
        for line in lines:
            times = billed.pop(sha256(line["prompt"].encode()))
            assert line["charged"] <= times <= line["charged"] + line["unknown_charges"] <= 2 + retries, line
        assert not billed, "billed for what nobody asked for"
        status = json.loads(run_command("status", "state", "--budget", "900/month", "--json", cwd=tmp_path).out)
        upper = status["cost_usd"] + status["unknown_usd"]
        assert status["cost_usd"] - 1e-6 <= api.sim.spent_usd <= upper + 1e-6
        assert status["budget"]["spent_usd"] == pytest.approx(upper), "over all runs, killed ones too"

        # the same from a machine that has nothing
        before = len(api.sim.calls), api.sim.requests
        again = night(api, tmp_path, state="an empty machine")
        assert (again.code, again.summary["cached"], again.summary["requests"]) == (0, total, 0), again.err
        assert (len(api.sim.calls), api.sim.requests) == before
        found = {line["id"]: line["sha256"] for line in lines_of(tmp_path / "an empty machine")}
        assert found == {line["id"]: line["sha256"] for line in lines}


@pytest.fixture
def quick() -> Iterator[Store]:
    with s3server.s3_serving() as server:
        yield Store(server.environment)


@pytest.mark.slow
def test_from_a_checkout_that_can_only_be_read(
    quick: Store, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, readonly: tuple[str, ...]
) -> None:
    """As a container runs it: no terminal, no home, nothing to write to but the state folder."""
    write_shop(tmp_path, quick, products=1)
    state = tmp_path_factory.mktemp("volume") / "state"
    with serving(tmp_path_factory.mktemp("sim")) as api:
        api.env |= quick.environment
        api.via = (*readonly, "env", "-u", "HOME", "-u", "XDG_CACHE_HOME")
        for requested in (len(SCENES), 0):
            ran = night(api, tmp_path, state=str(state))
            assert ran.code == 0, ran.err
            assert ran.summary["requests"] == requested
            assert not [word for word in ("\x1b", KEY, s3server.SECRET) if word in ran.err]
    assert len(quick.names("shop/night")) == len(SCENES) + 1


def test_a_fork_has_neither_key_nor_credentials(quick: Store, tmp_path: Path) -> None:
    """It plans, says what it would cost at most, sends nothing, and asks the store for nothing."""
    rows = [{"id": f"j{n}", "prompt": f"Number {n}", "model": "flux-2-klein-4b"} for n in range(4)]
    manifest = tmp_path / "jobs.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    words = ("jobs.jsonl", "-o", PLACE, "--state", "state")
    with serving(tmp_path / "sim") as api:
        api.env |= {"AWS_ENDPOINT_URL": quick.environment["AWS_ENDPOINT_URL"], "FLUXBATCH_API_KEY": ""}
        planned = run_command("plan", *words, "--json", cwd=tmp_path, env=api.environment)
        assert (planned.code, planned.summary["make"], planned.summary["warnings"]) == (0, 4, 1)
        told = run_command("plan", *words, cwd=tmp_path, env=api.environment)
        assert f"{PLACE}: warning: can't be looked into: there are no credentials" in told.err
        ran = api.run(*words, cwd=tmp_path)
        assert ran.code == 2
        assert "there is no API key: 4 images to make, about $0.04; nothing was sent" in ran.err
        assert "all images that the ledger doesn't know count as new" in ran.err
        # with a key, images would have nowhere to go
        api.env["FLUXBATCH_API_KEY"] = KEY
        ran = api.run(*words, cwd=tmp_path)
        assert (ran.code, "set AWS_ACCESS_KEY_ID" in ran.err) == (2, True)
        # wrong credentials are no missing ones
        api.env |= {**quick.environment, "AWS_SECRET_ACCESS_KEY": "wrong", "FLUXBATCH_API_KEY": ""}
        planned = run_command("plan", *words, cwd=tmp_path, env=api.environment)
        assert (planned.code, "refuses the credentials" in planned.err) == (3, True)
        assert api.sim.requests == 0
    assert not (tmp_path / "state").exists()
    assert not quick.names("shop")
