"""Photos that are in object stores: looked at once, sent as they are, or signed for."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from fluxbatch.testing import make_png
from tests.app.stage import PHOTOS, Api, Ran, results, run_command, sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.stores.s3server import S3Server

pytestmark = pytest.mark.slow


@pytest.fixture
def server(server: S3Server) -> S3Server:
    """With two photos."""
    server.put("in/cup one.png", (PHOTOS / "cup.png").read_bytes())
    server.put("in/猫.webp", (PHOTOS / "cat.webp").read_bytes())
    server.asked.clear()
    return server


def large_png(width: int, height: int) -> bytes:
    """Of one colour: few bytes for many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * (3 * width)) * height, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def write(folder: Path, count: int = 3, **more: Any) -> Path:
    images = ["s3://pictures/in/cup one.png", "s3://pictures/in/猫.webp"]
    jobs = [{"id": f"job-{n}", "prompt": f"Number {n} of image 1 and image 2", "images": images} for n in range(count)]
    path = folder / "jobs.json"
    path.write_text(json.dumps({"version": 1, **more, "jobs": jobs}))
    return path


def run(api: Api, manifest: Path) -> Ran:
    return api.run(manifest, "-o", "out", "--json", "--yes", cwd=manifest.parent)


def test_they_are_sent_byte_for_byte(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest = write(tmp_path)
    done = run(api, manifest)
    assert (done.code, done.summary["stored"]) == (0, 3), done.err
    wanted = [sha256(PHOTOS / "cup.png"), sha256(PHOTOS / "cat.webp")]
    assert [[image["sha256"] for image in call.inputs] for call in api.sim.calls] == [wanted] * 3
    # however many jobs use them: asked for once, and read once
    assert [(server.count("HEAD", key), server.count("GET", key)) for key in server.objects] == [(1, 1)] * 2
    assert results(tmp_path / "out")[0]["inputs"] == ["s3://pictures/in/cup one.png", "s3://pictures/in/猫.webp"]
    server.asked.clear()
    assert run(api, manifest).summary["requests"] == 0
    assert [(server.count("HEAD", key), server.count("GET", key)) for key in server.objects] == [(1, 0)] * 2


def test_another_photo_under_the_name_is_another_photo(api: Api, server: S3Server, tmp_path: Path) -> None:
    manifest = write(tmp_path, 1)
    run(api, manifest)
    server.put("in/cup one.png", (PHOTOS / "person.jpg").read_bytes())
    plan = run_command("plan", manifest, "-o", "out", cwd=tmp_path, env=api.environment)
    assert "photo s3://pictures/in/cup one.png changed" in plan.out
    assert run(api, manifest).summary["requests"] == 1
    assert api.sim.calls[-1].inputs[0]["sha256"] == sha256(PHOTOS / "person.jpg")


def test_presigned_they_are_no_bytes_of_ours(api: Api, server: S3Server, tmp_path: Path) -> None:
    # a name that the service could reach, and a way to it for us
    api.env |= {"AWS_ENDPOINT_URL": "http://s3.example.com", "HTTP_PROXY": server.endpoint}
    done = run(api, write(tmp_path, inputs="presign"))
    assert (done.code, done.summary["stored"]) == (0, 3), done.err
    assert not server.count("GET")
    [cup, cat] = [image["url"] for image in api.sim.calls[0].inputs]
    for url, name in ((cup, "cup.png"), (cat, "cat.webp")):
        assert requests.get(url, proxies={"http": server.endpoint}, timeout=10).content == (PHOTOS / name).read_bytes()
    assert int(parse_qs(urlsplit(cup).query)["X-Amz-Expires"][0]) <= 3600
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in kept if b"X-Amz-Signature" in path.read_bytes()]
    assert "X-Amz" not in done.err + done.out
    # the same photos are no other job for being sent another way
    again = run(api, write(tmp_path))
    assert again.summary["requests"] == 0


def test_a_photo_that_is_replaced_while_a_run_goes_on_is_not_sent(api: Api, server: S3Server, tmp_path: Path) -> None:
    def replace(asked: Any) -> None:
        if asked.method == "GET" and asked.key.endswith("one.png"):
            server.put(asked.key, (PHOTOS / "person.jpg").read_bytes())

    server.fault = replace
    done = run(api, write(tmp_path, 1))
    assert done.code == 1
    assert not api.sim.calls
    assert results(tmp_path / "out")[0]["error"]["code"] == "input_changed"


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("s3://pictures/in/cup two.png", "there is no such object"),
        ("s3://pictures", "it names a bucket, and no object"),
        ("s3://key:secret@pictures/in/cup one.png", "credentials"),
        ("s3://pictures/../x.png", "'..'"),
        ("ftp://host/cup.png", "ftp:// addresses can't be fetched"),
    ],
)
def test_what_is_no_photo_is_an_error_of_the_manifest(api: Api, tmp_path: Path, ref: str, said: str) -> None:
    (tmp_path / "jobs.jsonl").write_text(json.dumps({"id": "a", "prompt": "x", "images": [ref]}))
    done = run(api, tmp_path / "jobs.jsonl")
    assert done.code == 2
    assert said in done.err
    assert "jobs.jsonl:1" in done.err
    assert not api.sim.calls


def test_an_object_that_is_no_image_fails_its_job_alone(api: Api, server: S3Server, tmp_path: Path) -> None:
    server.put("in/cup one.png", b"<html>not here</html>")
    done = run(api, write(tmp_path, 1))
    assert (done.code, results(tmp_path / "out")[0]["error"]["code"]) == (1, "bad_image"), done.err
    assert not api.sim.calls


def small_png(width: int, height: int) -> bytes:
    return make_png(1, width=width, height=height)


@pytest.mark.parametrize(
    ("make", "fit", "code", "said"),
    [
        (lambda: small_png(200, 40), None, "bad_image", "200×40 pixels are too small"),
        (lambda: small_png(200, 200)[:-30], None, "bad_image", "upload it again"),
        (lambda: large_png(6000, 4000), "off", "too_large", "6000×4000 are 22.9 MP, the limit is 20"),
        (lambda: large_png(20000, 12000), None, "too_large", "the limit is 200"),
    ],
)
def test_they_are_judged_as_local_ones_before_they_are_paid_for(
    api: Api, server: S3Server, tmp_path: Path, make: Callable[[], bytes], fit: str | None, code: str, said: str
) -> None:
    server.put("in/cup one.png", make())
    manifest = write(tmp_path, defaults={"fit": fit} if fit else {})
    done = run(api, manifest)
    assert (done.code, done.summary["requests"]) == (1, 0), done.err
    errors = [line["error"] for line in results(tmp_path / "out")]
    assert [error["code"] for error in errors] == [code] * 3
    assert all(said in error["message"] and "s3://pictures/in/cup one.png" in error["message"] for error in errors)
    assert server.count("GET", "in/cup one.png") == 1  # for all three
    # from now on it is known, and not fetched to be judged
    server.asked.clear()
    again = run_command("plan", manifest, "-o", "elsewhere", cwd=tmp_path, env=api.environment)
    assert again.code == 2
    assert said in again.err
    assert "jobs.json" in again.err
    assert not server.count("GET", "in/cup one.png")
    server.put("in/cup one.png", (PHOTOS / "cup.png").read_bytes())
    assert run(api, manifest).summary["stored"] == 3


def test_they_are_made_fit_as_local_ones(api: Api, server: S3Server, tmp_path: Path) -> None:
    server.put("in/cup one.png", large_png(6000, 4000))
    done = run(api, write(tmp_path, 1))
    assert done.code == 0, done.err
    first, second = api.sim.calls[0].inputs
    assert first["mime"] == "image/jpeg"  # the API refuses more than 20 MP, as a local one it goes as a smaller JPEG
    assert second["sha256"] == sha256(PHOTOS / "cat.webp")


def test_together_they_are_no_larger_than_the_model_takes(api: Api, server: S3Server, tmp_path: Path) -> None:
    """9 MP for flux-2-pro; nobody knew their sizes when this was planned."""
    refs = []
    for number in range(4):
        server.put(f"in/{number}.png", large_png(2000, 2000 - number))
        refs.append(f"s3://pictures/in/{number}.png")
    job = {"id": "a", "prompt": "All of them", "images": refs, "size": "1024x1024"}
    manifest = tmp_path / "jobs.json"
    manifest.write_text(json.dumps({"version": 1, "jobs": [job]}))
    done = run(api, manifest)
    assert done.code == 0, done.err
    assert all(image["mime"] == "image/jpeg" for image in api.sim.calls[0].inputs)  # made smaller: else it is refused
    manifest.write_text(json.dumps({"version": 1, "jobs": [{**job, "fit": "off"}]}))
    done = run(api, manifest)
    assert (done.code, done.summary["requests"]) == (1, 0)
    error = results(tmp_path / "out")[0]["error"]
    assert error["code"] == "too_large"
    assert "together, flux-2-pro takes 9" in error["message"]


def test_a_store_that_is_away_stops_the_plan(api: Api, tmp_path: Path) -> None:
    api.env["AWS_SECRET_ACCESS_KEY"] = "wrong"
    done = run(api, write(tmp_path, 1))
    assert done.code == 3
    assert "can't be read" in done.err
    assert not api.sim.calls
