"""Photos that the API would refuse or see wrongly land all the same: what it receives, what is said of it, and what is
done twice."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import shutil
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from blake3 import blake3
from PIL import Image, ImageChops, ImageOps, ImageStat

import fluxbatch
from fluxbatch.planning.fingerprint import fingerprint
from tests.app.stage import KEY, results, sha256
from tests.pictures import saved, scene

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.app.stage import Api

MODEL = "flux-2-klein-4b"
MODELS = {"model": MODEL}
MEGAPIXEL = 1 << 20
SIZE = (96, 64)
HEIC = importlib.util.find_spec("pillow_heif") is not None


# ------------------------------------------------------------------------------------------------------- the photos
def lying() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(scene(), "JPEG", quality=95, exif=exif)


def deep() -> bytes:
    return saved(scene().convert("L").convert("I").point(lambda value: value * 257).convert("I;16"), "PNG")


def heic() -> bytes:
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(scene()).save(file, quality=95)
    return file.getvalue()


def plain() -> bytes:
    return saved(scene(), "JPEG", quality=95)


def damaged() -> bytes:
    """A palette PNG that is whole by its structure and its sums, and can't be decoded all the same."""
    data = saved(scene().quantize(16), "PNG")
    start, end = data.index(b"IDAT"), data.index(b"IEND") - 8
    nonsense = b"IDAT" + b"\xff" * (end - start - 4)
    return data[:start] + nonsense + zlib.crc32(nonsense).to_bytes(4, "big") + data[end + 4 :]


@dataclass(frozen=True)
class Kind:
    """A photo that needs something.

    Attributes:
        make: its bytes.
        why: what is to be done.
        off: what is said without that; None if it is sent as it is.
        seen: how it is to look.
    """

    make: Callable[[], bytes]
    why: str
    off: str | None = None
    seen: Callable[[], Image.Image] = scene


KINDS = {
    "cmyk.jpg": Kind(lambda: saved(scene().convert("CMYK"), "JPEG", quality=95), "CMYK to RGB", "its colours are CMYK"),
    "lying.jpg": Kind(lying, "turned upright (EXIF)", seen=lambda: scene().transpose(Image.Transpose.ROTATE_270)),
    "palette.png": Kind(lambda: saved(scene().quantize(16), "PNG"), "palette to RGB"),
    "deep.png": Kind(deep, "16 to 8 bits", seen=lambda: scene().convert("L")),
    "phone.jpg": Kind(
        lambda: saved(scene(), "MPO", quality=95, save_all=True, append_images=[Image.new("RGB", SIZE)]),
        "first picture of several (MPO)",
        "it holds several pictures (MPO",
    ),
    "phone.heic": Kind(heic, "HEIC to JPEG", "it is a HEIC photo"),
    "wide.jpg": Kind(
        lambda: saved(scene((5120, 4112)), "JPEG"),
        "scaled from 5120×4112 to 2285×1835",
        "5120×4112 are 20.1 MP",
        lambda: scene((2285, 1835)),
    ),
    "heavy.jpg": Kind(lambda: plain() + bytes(20 << 20), "written anew, 20.0 MB are too large", "it is 20.0 MB large"),
}


@functools.cache
def data_of(name: str) -> bytes:
    return KINDS[name].make()


USABLE = [name for name in KINDS if HEIC or name != "phone.heic"]
LIGHT = [name for name in USABLE if name not in {"wide.jpg", "heavy.jpg"}]
EACH = [
    pytest.param(name, marks=() if name in USABLE else pytest.mark.skip(reason="nothing here reads HEIC"))
    for name in KINDS
]


PLAIN = {
    "plain.jpg": plain(),
    "grey.jpg": saved(scene().convert("L"), "JPEG"),
    "see-through.png": saved(scene().convert("RGBA"), "PNG"),
    "a.webp": saved(scene(), "WEBP"),
    "odd sides.png": saved(scene((97, 65)), "PNG"),
}


# ------------------------------------------------------------------------------------------------------------- runs
def run(api: Api, folder: Path, *jobs: dict[str, Any]) -> fluxbatch.RunResult:
    """Run these jobs; images are named relative to the folder."""
    made = [
        fluxbatch.Job(**{"model": MODEL, **job, "images": [_path(folder, ref) for ref in job["images"]]})
        for job in jobs
    ]
    return fluxbatch.run(made, out=folder / "out", api_key=KEY, base_url=api.sim.base_url)


def _path(folder: Path, ref: Any) -> Any:
    return folder / ref if isinstance(ref, str) and "://" not in ref else ref


def cached(folder: Path) -> dict[str, tuple[int, int]]:
    """The fitted photos that are kept: when and as what they were written."""
    found = (folder / "out" / ".fluxbatch" / "fitted").glob("*.[jp][pn]g")
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_ino) for path in found}


def received(folder: Path, taken: dict[str, Any]) -> bytes:
    """The bytes of which the API says that it took them: those of a fitted photo."""
    fitted = [path.read_bytes() for path in (folder / "out" / ".fluxbatch" / "fitted").iterdir()]
    return {sha256(data): data for data in fitted}[taken["sha256"]]


def sent(api: Api) -> dict[str, str]:
    """The digest of image 1 by prompt, which here is the name of the photo."""
    names = {sha256(name.encode()): name for name in [*KINDS, *PLAIN]}
    return {names[call.prompt_sha256]: call.inputs[0]["sha256"] for call in api.sim.calls}


def size_of(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as image:
        return image.size


def alike(one: Image.Image, other: Image.Image) -> bool:
    if one.size != other.size:
        return False
    difference = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    return max(difference.mean) < 4.0


# --------------------------------------------------------------------------------------------------- what is received
@pytest.mark.parametrize("name", EACH)
def test_what_is_received_is_upright_in_rgb_and_within_the_limits(api: Api, tmp_path: Path, name: str) -> None:
    kind, data = KINDS[name], data_of(name)
    (tmp_path / name).write_bytes(data)

    result = run(api, tmp_path, {"id": "a", "prompt": "x", "images": [name]})

    assert result.ok
    (taken,) = api.sim.calls[0].inputs
    with Image.open(io.BytesIO(received(tmp_path, taken))) as image:
        assert (image.format, image.mode, getattr(image, "n_frames", 1)) == ("JPEG", "RGB", 1)
        assert not image.getexif()
        assert alike(image, kind.seen())
        size = image.size
    assert taken["bytes"] <= 20 << 20
    assert size[0] * size[1] <= 4 * MEGAPIXEL
    (line,) = results(tmp_path / "out")
    said = {"image": 1, "width": size[0], "height": size[1], "mime": "image/jpeg", "why": [kind.why]}
    assert line["fitted"] == [said]
    assert [one.fitted for one in result.results()] == [[said]]
    assert (tmp_path / name).read_bytes() == data, "the photo itself was written to"


def test_what_is_done_to_photos_is_no_part_of_fingerprints(api: Api, tmp_path: Path) -> None:
    for name in LIGHT:
        (tmp_path / name).write_bytes(data_of(name))

    assert run(api, tmp_path, *({"id": name, "prompt": "x", "images": [name], "fit": "auto"} for name in LIGHT)).ok

    lines = results(tmp_path / "out")
    assert all(line["fitted"] for line in lines)
    originals = [fingerprint({"prompt": "x", **MODELS}, [blake3(data_of(name)).hexdigest()], {}) for name in LIGHT]
    assert [line["fingerprint"] for line in lines] == originals


def test_photos_that_need_nothing_go_byte_for_byte(api: Api, tmp_path: Path) -> None:
    for name, data in PLAIN.items():
        (tmp_path / name).write_bytes(data)

    assert run(api, tmp_path, *({"id": name, "prompt": name, "images": [name]} for name in PLAIN)).ok

    assert sent(api) == {name: sha256(data) for name, data in PLAIN.items()}
    assert [line["fitted"] for line in results(tmp_path / "out")] == [[]] * len(PLAIN)
    assert cached(tmp_path) == {}


def test_of_several_images_those_that_were_touched_are_told_by_their_number(api: Api, tmp_path: Path) -> None:
    for name in ("lying.jpg", "palette.png"):
        (tmp_path / name).write_bytes(data_of(name))
    (tmp_path / "plain.jpg").write_bytes(plain())
    images = ["plain.jpg", "lying.jpg", "https://a.example/b.jpg", "palette.png"]

    assert run(api, tmp_path, {"id": "a", "prompt": "x", "images": images}).ok

    (line,) = results(tmp_path / "out")
    said = [(one["image"], one["why"]) for one in line["fitted"]]
    assert said == [(2, ["turned upright (EXIF)"]), (4, ["palette to RGB"])]
    first, second, third, fourth = api.sim.calls[0].inputs
    assert (first["sha256"], third) == (sha256(plain()), {"url": "https://a.example/b.jpg"})
    assert [size_of(received(tmp_path, one)) for one in (second, fourth)] == [(64, 96), (96, 64)]


def test_photos_that_are_too_many_pixels_together_are_shared_out(api: Api, tmp_path: Path) -> None:
    data = saved(scene((2048, 2048)), "JPEG")
    (tmp_path / "large.jpg").write_bytes(data)
    job = {"id": "a", "prompt": "x", "model": "flux-2-pro", "size": "2048x2048", "images": ["large.jpg", "large.jpg"]}

    result = run(api, tmp_path, job)

    assert result.ok, "the API takes 9 MP, the result included"
    (line,) = results(tmp_path / "out")
    assert [one["image"] for one in line["fitted"]] == [1, 2]
    assert sum(one["width"] * one["height"] for one in line["fitted"]) <= 5 * MEGAPIXEL
    said = {"prompt": "x", "model": "flux-2-pro", "size": "2048x2048"}
    assert line["fingerprint"] == fingerprint(said, [blake3(data).hexdigest()] * 2, {})
    assert len(cached(tmp_path)) == 1


def test_the_image_of_another_job_is_made_fit_as_asked(api: Api, tmp_path: Path) -> None:
    first = {"id": "a", "prompt": "x", "size": "256x128", "images": []}
    second = {"id": "b", "prompt": "y", "images": [{"job": "a"}], "fit": {"long_edge": 128}}

    assert run(api, tmp_path, first, second).ok

    assert size_of(received(tmp_path, api.sim.calls[1].inputs[0])) == (128, 64)


# ------------------------------------------------------------------------------------------------ the second time
def test_a_folder_of_photos_of_all_kinds_lands_and_a_rerun_sends_nothing(api: Api, tmp_path: Path) -> None:
    photos = {f"{number}-{name}": data_of(name) for number, name in enumerate(LIGHT)} | {"plain.jpg": plain()}
    (tmp_path / "photos").mkdir()
    for name, data in photos.items():
        (tmp_path / "photos" / name).write_bytes(data)
    command = ("photos", "-p", "White background", "--model", MODEL, "--json")

    ran = api.run(*command, cwd=tmp_path)

    assert ran.code == 0, ran.err
    assert (ran.summary["stored"], ran.summary["requests"]) == (len(photos), len(photos))
    out = tmp_path / "photos-out"
    touched = {line["inputs"][0].rpartition("/")[2]: line["fitted"] for line in results(out)}
    assert {name: bool(fitted) for name, fitted in touched.items()} == {name: name != "plain.jpg" for name in photos}
    shutil.rmtree(out / ".fluxbatch" / "fitted")
    again = api.run(*command, cwd=tmp_path)
    assert (again.code, again.summary["requests"], again.summary["cached"]) == (0, 0, len(photos))
    assert not (out / ".fluxbatch" / "fitted").exists(), "photos were made fit for nothing"
    assert [line["fitted"] for line in results(out)] == list(touched.values())


def test_the_same_bytes_are_made_fit_once_whatever_they_are_called(api: Api, tmp_path: Path) -> None:
    data = data_of("cmyk.jpg")
    names = ["one.jpg", "two.jpg", "elsewhere/three.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)

    assert run(api, tmp_path, *({"id": name[:3], "prompt": name, "images": [name]} for name in names)).ok
    first = cached(tmp_path)
    assert run(api, tmp_path, {"id": "later", "prompt": "later", "images": ["two.jpg"]}).ok

    assert len(first) == 1
    assert cached(tmp_path) == first, "the next run worked on it again"
    assert len({call.inputs[0]["sha256"] for call in api.sim.calls}) == 1
    assert len(api.sim.calls) == 4


def test_another_wish_or_other_bytes_are_other_fitted_photos(api: Api, tmp_path: Path) -> None:
    picture = scene((192, 128)).convert("CMYK")
    (tmp_path / "a.jpg").write_bytes(saved(picture, "JPEG"))
    assert run(api, tmp_path, {"id": "a", "prompt": "a", "images": ["a.jpg"]}).ok
    first = cached(tmp_path)

    assert run(api, tmp_path, {"id": "b", "prompt": "b", "images": ["a.jpg"], "fit": {"long_edge": 96}}).ok
    assert len(cached(tmp_path)) == 2
    (tmp_path / "a.jpg").write_bytes(saved(ImageOps.mirror(picture), "JPEG"))
    assert run(api, tmp_path, {"id": "a", "prompt": "a", "images": ["a.jpg"]}).ok

    assert len(cached(tmp_path)) == 3
    assert cached(tmp_path).items() > first.items()
    sizes = [size_of(received(tmp_path, call.inputs[0])) for call in api.sim.calls]
    assert sizes == [(192, 128), (96, 64), (192, 128)]
    assert len({call.inputs[0]["sha256"] for call in api.sim.calls}) == 3


@pytest.mark.parametrize("harm", ["lost", "cut"])
def test_a_fitted_photo_that_is_harmed_is_made_again_the_same(api: Api, tmp_path: Path, harm: str) -> None:
    (tmp_path / "a.jpg").write_bytes(data_of("cmyk.jpg"))
    assert run(api, tmp_path, {"id": "a", "prompt": "a", "images": ["a.jpg"]}).ok
    (kept,) = (tmp_path / "out" / ".fluxbatch" / "fitted").glob("*.jpg")
    if harm == "lost":
        kept.unlink()
    else:
        kept.write_bytes(kept.read_bytes()[:-20])

    assert run(api, tmp_path, {"id": "b", "prompt": "b", "images": ["a.jpg"]}).ok

    first, second = (call.inputs[0]["sha256"] for call in api.sim.calls)
    assert first == second == sha256(kept)


def test_a_photo_that_can_not_be_decoded_after_all_costs_nothing(api: Api, tmp_path: Path) -> None:
    (tmp_path / "damaged.png").write_bytes(damaged())
    (tmp_path / "plain.jpg").write_bytes(plain())
    jobs = [{"id": name, "prompt": name, "images": [name]} for name in ("damaged.png", "plain.jpg")]

    result = run(api, tmp_path, *jobs)

    assert (result.summary.stored, result.summary.failed, result.summary.charged) == (1, 1, 1)
    bad, good = results(tmp_path / "out")
    assert (bad["error"]["code"], bad["charged"], bad["attempts"]) == ("bad_image", 0, 0)
    assert "damaged.png: it is a PNG image that can't be decoded" in bad["error"]["message"]
    assert good["status"] == "stored"
    assert api.sim.requests == 1


# ------------------------------------------------------------------------------------------------------------- off
def write_off(folder: Path, names: list[str]) -> None:
    """A manifest of a job for each of these photos."""
    for name in names:
        (folder / name).write_bytes(data_of(name))
    rows = [{"id": name, "prompt": name, "images": [name], "fit": "off", **MODELS} for name in names]
    (folder / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_off_refuses_what_the_api_would_not_take(api: Api, tmp_path: Path) -> None:
    write_off(tmp_path, USABLE)

    ran = api.run("jobs.jsonl", cwd=tmp_path)

    assert ran.code == 2
    refused = [(line, name, KINDS[name].off) for line, name in enumerate(USABLE, 1) if KINDS[name].off]
    for line, name, message in refused:
        assert f"jobs.jsonl:{line}: error: [{name}] images[1]: {name}: {message}" in ran.err
    assert ran.err.count(": error: ") == len(refused) == len(USABLE) - 3
    assert api.sim.requests == 0


def test_off_sends_the_rest_byte_for_byte_and_warns_of_what_may_be_seen_wrongly(api: Api, tmp_path: Path) -> None:
    write_off(tmp_path, LIGHT)

    ran = api.run("jobs.jsonl", "--on-invalid", "skip", cwd=tmp_path)

    assert ran.code == 1
    lines = {line["id"]: line for line in results(tmp_path / "jobs-out")}
    refused = {name: "bad_image" for name in LIGHT if KINDS[name].off}
    assert {name: line["error"]["code"] for name, line in lines.items() if line["error"]} == refused
    assert sent(api) == {name: sha256(tmp_path / name) for name in LIGHT if name not in refused}
    for name in sent(api):
        assert f"warning: [{name}] images[1]: {name}: " in ran.err
    assert [line["fitted"] for line in lines.values()] == [[]] * len(LIGHT)
    assert not (tmp_path / "jobs-out" / ".fluxbatch" / "fitted").exists()
