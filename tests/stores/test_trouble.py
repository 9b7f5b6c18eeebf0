"""Stores that fail, lie, or are written to by others: what is paid for lands, and nothing of anybody is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from fluxbatch.adapters.clock import SystemClock
from fluxbatch.adapters.stores import PhotoCache
from fluxbatch.adapters.stores.bucket import Seen
from fluxbatch.adapters.stores.lease import MARK
from fluxbatch.adapters.stores.probe import probe
from fluxbatch.errors import PhotoError, StorageError, TargetBlocked
from fluxbatch.testing import make_job, make_png
from tests.app.stage import Api, Ran, run_command, serving, wait_for, write_rows
from tests.stores.s3server import KEY, SECRET, Asked, S3Server
from tests.stores.test_store_sink import make_sink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from blockbuster import BlockBuster

pytestmark = pytest.mark.slow

PLACE = "s3://pictures/shop"


@pytest.fixture
def server(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """For this process too."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


def run(api: Api, manifest: Path, *more: object, out: str = PLACE, state: str = "state") -> Ran:
    return api.run(manifest, "-o", out, "--state", state, "--json", "--yes", *more, cwd=manifest.parent)


def images(server: S3Server) -> list[str]:
    return sorted(key for key in server.objects if not key.endswith(("results.jsonl", MARK)))


def die_while_it_is_away(api: Api, server: S3Server, manifest: Path, *, landed: int) -> int:
    """Kill a run when the store has taken so many images, and the others wait in the spool; how many it made."""
    spool = manifest.parent / "state" / "spool"
    # a refusal, not an outage: it is told at once, however patient the client
    server.fault = lambda asked: 403 if asked.method == "PUT" and len(images(server)) >= landed else None
    with api.running(manifest, "-o", PLACE, "--state", "state", "--yes", cwd=manifest.parent) as child:
        wait_for(lambda: "forbidden" in child.said)
        wait_for(lambda: not api.sim.in_flight and len(list(spool.iterdir())) == len(api.sim.calls) - landed)
        child.kill()
    return len(api.sim.calls)


# ------------------------------------------------------------------------------------------------------- whole runs
def test_a_store_that_goes_away_stops_the_run_and_loses_nothing(server: S3Server, tmp_path: Path) -> None:
    """URLs and process die before it is back: the images come from the spool."""
    manifest, spool = write_rows(tmp_path / "jobs.jsonl", 60), tmp_path / "state" / "spool"
    with serving(tmp_path / "sim", url_life=8.0) as api:
        billed = die_while_it_is_away(api, server, manifest, landed=8)
        assert 8 < billed < 60  # nothing more was sent
        server.fault = lambda _: None
        last = max(call.at for call in api.sim.calls)
        wait_for(lambda: SystemClock().now() > last + 8.0 + 2.0)
        done = run(api, manifest, "--limit", "0")
        assert len(images(server)) == billed, done.err
        assert (done.summary["lost"], done.summary["requests"]) == (0, 0)
        assert not list(spool.iterdir())
        # and they tell what they are
        assert run(api, manifest, "--limit", "0", state="an empty machine").summary["cached"] == billed


def test_a_store_that_stumbles_is_tried_again(api: Api, server: S3Server, tmp_path: Path) -> None:
    def stumble(asked: Asked) -> int | str | None:
        count = len(server.asked)
        return 503 if count % 4 == 0 else "cut" if count % 7 == 0 else None

    server.fault = stumble
    done = run(api, write_rows(tmp_path / "jobs.jsonl", 12))
    assert (done.code, done.summary["stored"], done.summary["charged"]) == (0, 12, 12), done.err


def test_images_that_came_in_answers_wait_for_a_store_as_well(server: S3Server, tmp_path: Path) -> None:
    """No URL is on record to say that they were paid for: the run died while it waited to put them in place."""
    manifest, spool = write_rows(tmp_path / "jobs.jsonl", 20), tmp_path / "state" / "spool"
    with serving(tmp_path / "sim", answer="b64_json", render="montage") as api:
        billed = die_while_it_is_away(api, server, manifest, landed=4)
        away = run(api, manifest)
        assert (away.code, len(api.sim.calls)) == (3, billed), away.err
        server.fault = lambda _: None
        done = run(api, manifest)
        assert (done.code, done.summary["stored"], max(api.billed().values())) == (0, 20, 1), done.err
        assert not list(spool.iterdir())
        lines = lines_of(tmp_path / "state")
        assert [(line["charged"], line["unknown_charges"], line["attempts"]) for line in lines] == [(1, 0, 1)] * 20


def test_what_others_write_meanwhile_stays(api: Api, server: S3Server, tmp_path: Path) -> None:
    def meddle(asked: Asked) -> None:
        if asked.method == "PUT" and asked.key == "shop/job-001.jpg" and asked.key not in server.objects:
            server.put(asked.key, b"somebody else's")

    server.fault = meddle
    done = run(api, write_rows(tmp_path / "jobs.jsonl", 3))
    assert (done.code, done.summary["stored"], done.summary["failed"]) == (1, 2, 1)
    assert server.objects["shop/job-001.jpg"].data == b"somebody else's"
    [failed] = [one for one in lines_of(tmp_path / "state") if one["status"] == "failed"]
    assert failed["error"]["code"] == "storage_failed"
    assert "written by somebody else" in failed["error"]["message"]
    # paid for all the same, and not thrown away: out of the way, it lands
    assert len(list((tmp_path / "state" / "spool").iterdir())) == 1
    server.fault = lambda _: None
    unmoved = run(api, write_rows(tmp_path / "jobs.jsonl", 3))
    assert unmoved.code == 2, unmoved.err
    assert "job-001.jpg is in the output folder already" in unmoved.err
    assert server.objects["shop/job-001.jpg"].data == b"somebody else's"
    del server.objects["shop/job-001.jpg"]
    again = run(api, write_rows(tmp_path / "jobs.jsonl", 3))
    assert (again.code, again.summary["stored"], again.summary["requests"]) == (0, 3, 0), again.err


def test_what_others_made_of_an_image_meanwhile_stays(api: Api, server: S3Server, tmp_path: Path) -> None:
    """Its job has changed, and while the new one was on its way the old one was edited."""
    manifest = write_rows(tmp_path / "jobs.jsonl", 2)
    assert run(api, manifest).code == 0
    manifest.write_text(manifest.read_text().replace("Number", "Another number"))
    edited = False

    def meddle(asked: Asked) -> None:
        nonlocal edited
        if asked.method == "PUT" and asked.key == "shop/job-001.jpg" and not edited:
            edited = True
            server.put(asked.key, b"edited")

    server.fault = meddle
    assert run(api, manifest).summary["failed"] == 1
    for more in ((), ("--only", "job-001")):
        again = run(api, manifest, *more)
        assert (again.code, server.objects["shop/job-001.jpg"].data) == (2, b"edited"), again.err
        assert "job-001.jpg was edited since it was made" in again.err
    anew = run(api, manifest, "--retry", "altered")
    assert (anew.code, anew.summary["stored"], anew.summary["requests"]) == (0, 2, 0), anew.err
    assert server.objects["shop/job-001.jpg"].data != b"edited"


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_what_is_there_already_is_an_error_before_anything_is_sent(api: Api, server: S3Server, tmp_path: Path) -> None:
    server.put("shop/job-001.png", b"somebody else's")
    done = run(api, write_rows(tmp_path / "jobs.jsonl", 3))
    assert done.code == 2
    assert "job-001.png is in the output folder already" in done.err
    assert not api.sim.calls


@pytest.mark.parametrize("refuses", [True, False])
def test_a_store_without_conditions_is_looked_at_first(
    api: Api, server: S3Server, tmp_path: Path, *, refuses: bool
) -> None:
    """As Alibaba's, by its own variables."""
    server.conditional, server.refuses_conditions = False, refuses
    api.env |= {"OSS_ENDPOINT": server.endpoint, "OSS_ACCESS_KEY_ID": KEY, "OSS_ACCESS_KEY_SECRET": SECRET}
    manifest = write_rows(tmp_path / "jobs.jsonl", 4)
    done = run(api, manifest, out="oss://pictures/shop")
    assert (done.code, len(images(server))) == (0, 4), done.err
    for key in images(server):
        [head, put, *_] = [one for one in server.asked if one.key == key]
        assert (head.method, put.method) == ("HEAD", "PUT")
        assert "if-none-match" not in put.headers
    again = run(api, manifest, out="oss://pictures/shop", state="elsewhere")
    assert (again.code, again.summary["requests"]) == (0, 0)


def test_kinds_are_not_mixed(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "jobs.jsonl", 2)
    run(api, manifest)
    words = ("run", manifest, "--simulate", "-o", PLACE, "--state", "another")
    done = run_command(*words, cwd=tmp_path, env=server.environment)
    assert done.code == 2
    assert "holds live images" in done.err


def test_a_ledger_is_of_one_place(api: Api, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "jobs.jsonl", 1)
    run(api, manifest)
    for out, state in (("s3://pictures/another", "state"), ("folder", "state")):
        done = run(api, manifest, out=out, state=state)
        assert done.code == 2
        assert f"is of {PLACE}" in done.err
    done = api.run(manifest, "-o", "state", "--yes", cwd=tmp_path)
    assert (done.code, f"state folder of {PLACE}" in done.err) == (2, True)
    status = run_command("status", "state", cwd=tmp_path)
    assert status.out.startswith(PLACE)


def test_no_state_no_run(api: Api, tmp_path: Path) -> None:
    for command in ("run", "plan"):
        done = run_command(
            command, write_rows(tmp_path / "jobs.jsonl", 1), "-o", PLACE, cwd=tmp_path, env=api.environment
        )
        assert done.code == 2
        assert "--state DIR" in done.err
    assert not api.sim.calls


def test_without_the_extra_it_is_named(api: Api, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "obstore.py").write_text("raise ImportError('not here')")
    api.env["PYTHONPATH"] = str(hidden)
    api.via = ("env",)
    done = run(api, write_rows(tmp_path / "jobs.jsonl", 1))
    assert done.code == 2
    assert "pip install 'fluxbatch[stores]'" in done.err


def test_secrets_are_nowhere(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "jobs.jsonl", 3)
    shown = [run(api, manifest, "-vv"), run(api, manifest, "-vv", "--log-format", "json")]
    server.fault = lambda asked: 403 if asked.method == "PUT" else None
    shown.append(run(api, write_rows(tmp_path / "more.jsonl", 2, prefix="more"), "-vv"))
    server.fault = lambda _: None
    assert [one.code for one in shown] == [0, 0, 3]
    for secret in (SECRET, KEY, "StringToSign"):
        assert all(secret not in one.out + one.err for one in shown)
        files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
        assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert all(SECRET not in str(event) for event in events_of(tmp_path / "state"))


def events_of(state: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (state / "events.jsonl").read_text().splitlines()]


def test_a_plan_of_an_empty_machine_writes_nothing(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest = write_rows(tmp_path / "jobs.jsonl", 3)
    run(api, manifest)
    server.asked.clear()
    words = ("plan", manifest, "-o", PLACE, "--state", "elsewhere", "--check", "--all")
    done = run_command(*words, cwd=tmp_path, env=api.environment)
    assert (done.code, done.out.count("  unchanged")) == (0, 3), done.out
    assert not (tmp_path / "elsewhere").exists()
    assert {one.method for one in server.asked} == {"GET", "HEAD"}


def test_a_chain_takes_its_image_from_the_store(api: Api, server: S3Server, tmp_path: Path) -> None:
    (tmp_path / "jobs.json").write_text(
        json.dumps({"jobs": [{"id": "a", "prompt": "One"}, {"id": "b", "prompt": "Two", "images": [{"job": "a"}]}]})
    )
    done = run(api, tmp_path / "jobs.json")
    assert (done.code, done.summary["stored"]) == (0, 2), done.err
    [line] = [one for one in lines_of(tmp_path / "state") if one["id"] == "a"]
    assert api.sim.calls[1].inputs[0]["sha256"] == line["sha256"]


# ------------------------------------------------------------------------------------------------- the sink by itself
@pytest.mark.parametrize("refuses", [True, False])
@pytest.mark.parametrize("conditional", [True, False])
async def test_a_probe_finds_out_what_a_store_holds_to(
    server: S3Server, tmp_path: Path, blockbuster: BlockBuster, *, conditional: bool, refuses: bool
) -> None:
    blockbuster.deactivate()
    server.conditional, server.refuses_conditions = conditional, refuses
    bucket = make_sink(PLACE, tmp_path).bucket
    await probe(bucket)
    assert (bucket.creates, bucket.updates) == (conditional and not refuses, conditional and not refuses)
    assert not server.objects


async def test_a_probe_notices_a_store_that_drops_metadata(
    server: S3Server, tmp_path: Path, blockbuster: BlockBuster
) -> None:
    blockbuster.deactivate()

    def drop(asked: Asked) -> None:
        for name in [name for name in asked.headers if name.startswith("x-amz-meta-")]:
            del asked.headers[name]  # after they were signed for

    server.before_put = drop
    with pytest.raises(StorageError, match="reads otherwise"):
        await probe(make_sink(PLACE, tmp_path).bucket)
    assert not server.objects


async def test_an_answer_that_is_lost_is_no_other_image(
    server: S3Server, tmp_path: Path, blockbuster: BlockBuster
) -> None:
    """The object is there, and the client was told nothing of it."""
    blockbuster.deactivate()
    sink = make_sink(PLACE, tmp_path, patience_s=5)
    job, data = make_job(1), make_png(1)
    landing = await sink.land()
    landing.write(data)
    server.cut_after_put = 1
    stored = await landing.commit("cat", job)
    assert server.objects["shop/cat.png"].data == data
    assert (await sink.known([job])).get(job.id) is None  # another file name
    assert stored.etag == server.objects["shop/cat.png"].etag


async def test_bytes_that_change_on_the_way_are_refused(
    server: S3Server, tmp_path: Path, blockbuster: BlockBuster
) -> None:
    """An object whose ETag is not that of its bytes is asked about."""
    blockbuster.deactivate()
    sink = make_sink(PLACE, tmp_path)

    def shorten(asked: Asked) -> None:
        if asked.method == "HEAD":
            server.put(asked.key, b"short")

    server.fault, server.opaque = shorten, True
    landing = await sink.land()
    landing.write(make_png(1))
    with pytest.raises(StorageError, match="is not what was sent"):
        await landing.commit("cat", None)
    assert len(list((tmp_path / "spool").iterdir())) == 1


async def test_an_object_that_was_removed_meanwhile_is_written_anew(
    server: S3Server, tmp_path: Path, blockbuster: BlockBuster
) -> None:
    blockbuster.deactivate()
    sink = make_sink(PLACE, tmp_path)
    for number in (1, 2):
        landing = await sink.land()
        landing.write(make_png(number))
        await landing.commit("cat", None)
        if number == 1:
            del server.objects["shop/cat.png"]
    assert server.objects["shop/cat.png"].data == make_png(2)


async def test_someone_elses_object_is_not_replaced(server: S3Server, tmp_path: Path, blockbuster: BlockBuster) -> None:
    blockbuster.deactivate()
    sink = make_sink(PLACE, tmp_path)
    assert await sink.taken(["cat"]) == {}
    server.put("shop/cat.png", b"mine")
    landing = await sink.land()
    landing.write(make_png(1))
    with pytest.raises(TargetBlocked, match="written by somebody else"):
        await landing.commit("cat", None)
    assert server.objects["shop/cat.png"].data == b"mine"


async def test_many_objects_are_listed_page_by_page(server: S3Server, tmp_path: Path, blockbuster: BlockBuster) -> None:
    blockbuster.deactivate()
    for number in range(2500):
        server.put(f"shop/{number:04}.png", b"x")
    server.put("shopping/other.png", b"x")
    sink = make_sink(PLACE, tmp_path)
    assert len(await sink.taken([f"{number:04}" for number in range(3000)])) == 2500
    assert server.count("GET") == 3
    assert await sink.taken(["other", "ping/other"]) == {}


# --------------------------------------------------------------------------------------------------------- the cache
async def test_photos_stay_within_bounds(tmp_path: Path, blockbuster: BlockBuster) -> None:
    blockbuster.deactivate()
    data = make_png(1, width=200, height=200)
    cache = PhotoCache(tmp_path / "photos", most=3 * len(data))
    reads = 0

    async def read() -> AsyncIterator[bytes]:
        nonlocal reads
        reads += 1

        async def pieces() -> AsyncIterator[bytes]:
            yield data

        return pieces()

    def there() -> int:
        return len(list((tmp_path / "photos").rglob("*.png")))

    used = [await cache.keep(f"{n}.png", Seen(len(data), "e"), read) for n in range(6)]
    assert there() == 6  # all of them in use
    for photo in used[:5]:
        cache.release(photo.path)
    await cache.keep("6.png", Seen(len(data), "e"), read)
    assert there() == 3
    assert anyio.Path(used[5].path).name == "5.png"
    assert await anyio.Path(used[5].path).exists()
    before = reads
    again = await cache.keep("5.png", Seen(len(data), "e"), read)
    assert (again, reads) == (used[5], before)
    await cache.keep("5.png", Seen(len(data), "another"), read)
    assert reads == before + 1


async def test_what_is_no_photo_is_not_kept(tmp_path: Path, blockbuster: BlockBuster) -> None:
    blockbuster.deactivate()
    cache = PhotoCache(tmp_path / "photos")

    async def read() -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"<html>"

        return pieces()

    with pytest.raises(PhotoError, match=r"a\.png can't be used"):
        await cache.keep("a.png", Seen(6, "e"), read)
    assert cache.find("a.png", Seen(6, "e")) is None
