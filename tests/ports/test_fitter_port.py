"""Photos made fit: fake and real one keep the promises of the port; pixels, cache and limits of the real one."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pillow_heif
import pytest
from anyio import to_thread
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageOps, ImageStat

from fluxbatch.adapters.disk import FileSource
from fluxbatch.adapters.fitting import PillowDecoder, PillowFitter
from fluxbatch.errors import PhotoChanged, PhotoError
from fluxbatch.formats import NotAnImage, inspect_image
from fluxbatch.model.job import Fit, Fitting, Photo
from fluxbatch.policy.fitting import LARGEST_FILE, fitting_of
from fluxbatch.testing import MemoryFitter, MemorySource
from fluxbatch.testing.conformance import case_name, fitter
from tests.pictures import saved, scene

if TYPE_CHECKING:
    from collections.abc import Iterator

AUTO = Fit()
SIZE = (96, 64)

# A flat JPEG of 96×64 with arithmetic coding, reddish on the left and bluish on the right; Pillow can't write such.
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6j"
    "q62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSk"
    "pKSkpKSkpKT/yQARCABAAGADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD9yP8AZgNE0dO/MLZN1LH25kjzWf0A"
    "js9wRA2P1KKNSCxiAOj/2Q=="
)


def looked_at(path: Path, fitting: Fitting | None = None) -> Photo:
    facts, data = path.stat(), path.read_bytes()
    digest = blake3(data).hexdigest()
    return Photo(
        path.name, str(path), "image/png", len(data), facts.st_mtime_ns, facts.st_ino, *SIZE, digest, fitting=fitting
    )


# ----------------------------------------------------------------------------------------------------- the contract
class MemoryRig:
    def __init__(self) -> None:
        source = MemorySource()
        self.fitter = MemoryFitter(source)
        self.add = source.add
        self.overwrite = source.overwrite
        self.remove = source.remove
        self.forbid = source.forbid

    def read(self, photo: Photo) -> bytes:
        return self.fitter.files[photo.path]

    def cut(self, photo: Photo) -> None:
        self.fitter.files[photo.path] = self.read(photo)[:-20]

    def lose(self, photo: Photo) -> None:
        del self.fitter.files[photo.path]

    def fill(self, *, full: bool) -> None:
        self.fitter.full = full

    def made(self) -> int:
        return self.fitter.made


class FolderRig:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fitted = folder / "fitted"
        self.fitter = PillowFitter(self._fitted)

    def add(self, ref: str, data: bytes) -> Photo:
        (self._folder / ref).write_bytes(data)
        return looked_at(self._folder / ref)

    def overwrite(self, ref: str, data: bytes) -> None:
        path = self._folder / ref
        before = path.stat().st_mtime_ns
        path.write_bytes(data)
        os.utime(path, ns=(before + 5_000_000, before + 5_000_000))

    def remove(self, ref: str) -> None:
        (self._folder / ref).unlink()

    def forbid(self, ref: str) -> None:
        # a link to itself can't be opened by anybody, root included
        (self._folder / ref).unlink()
        (self._folder / ref).symlink_to(ref)

    def read(self, photo: Photo) -> bytes:
        return Path(photo.path).read_bytes()

    def cut(self, photo: Photo) -> None:
        os.truncate(photo.path, photo.size - 20)

    def lose(self, photo: Photo) -> None:
        Path(photo.path).unlink()

    def fill(self, *, full: bool) -> None:
        if full:
            self._fitted.write_bytes(b"no folder")
        else:
            self._fitted.unlink()

    def made(self) -> int:
        return self.fitter.made


@pytest.mark.parametrize("case", fitter.CASES, ids=case_name)
async def test_memory_fitter(case: fitter.Case) -> None:
    @contextmanager
    def make() -> Iterator[MemoryRig]:
        yield MemoryRig()

    await case(make)


@pytest.mark.parametrize("case", fitter.CASES, ids=case_name)
async def test_pillow_fitter(case: fitter.Case, tmp_path: Path) -> None:
    @contextmanager
    def make() -> Iterator[FolderRig]:
        yield FolderRig(tmp_path)

    await case(make)


# ------------------------------------------------------------------------------------------------------- the pixels
def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def heic(image: Image.Image) -> bytes:
    pillow_heif.register_heif_opener()
    return saved(image, "HEIF", quality=95)


async def sent(folder: Path, data: bytes, fit: Fit = AUTO) -> Image.Image:
    """The image as it arrives, by way of everything that is between."""
    path = folder / "photo"
    path.write_bytes(data)
    facts = await to_thread.run_sync(PillowDecoder().measure, str(path))
    fitting = fitting_of(facts, len(data), fit)
    assert fitting is not None
    fitted = await PillowFitter(folder / "fitted").fit(looked_at(path, fitting))
    reader = FileSource().open(fitted)
    buffer = memoryview(bytearray(fitted.size))
    reader.readinto(buffer)
    reader.verify()
    reader.close()
    facts = inspect_image(io.BytesIO(buffer))
    assert (facts.width, facts.height) == (fitting.crop_width, fitting.crop_height)
    assert (facts.mime, facts.orientation, facts.bits, facts.palette) == (fitting.mime, 1, 8, False)
    image = Image.open(io.BytesIO(buffer))
    image.load()
    assert not {"exif", "icc_profile", "transparency", "comment"} & image.info.keys()
    return image


def close(one: Image.Image, other: Image.Image, by: float = 4.0) -> bool:
    """Alike to the eye."""
    if one.size != other.size:
        return False
    difference = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    return max(difference.mean) < by


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
async def test_photos_are_turned_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    lying = scene()
    lying.info["exif"] = turned(orientation).tobytes()  # where the HEIC library looks for it
    data = heic(lying) if kind == "HEIC" else saved(lying, kind, exif=turned(orientation))
    assert kind != "HEIC" or (b"irot" in data or b"imir" in data)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(saved(scene(), "PNG", exif=turned(orientation)))))

    assert close(await sent(tmp_path, data), upright)


async def test_a_lying_photo_is_scaled_and_cropped_as_it_stands(tmp_path: Path) -> None:
    data = saved(scene((960, 640)), "JPEG", exif=turned(6), quality=95)

    image = await sent(tmp_path, data, Fit(long_edge=480, multiple_of=100))

    assert image.size == (300, 400)
    assert close(image, scene((480, 320)).transpose(Image.Transpose.ROTATE_270).crop((10, 40, 310, 440)))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved(scene(), "MPO", save_all=True, append_images=[Image.new("RGB", SIZE)]), id="MPO"),
        pytest.param(saved(scene().convert("CMYK"), "JPEG", quality=95), id="CMYK"),
        pytest.param(saved(scene().quantize(16), "PNG"), id="palette"),
        pytest.param(saved(scene().quantize(16), "GIF"), id="GIF"),
        pytest.param(saved(scene(), "PNG", save_all=True, append_images=[Image.new("RGB", SIZE)]), id="animated PNG"),
        pytest.param(
            saved(scene(), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", SIZE)]),
            id="animated WebP",
        ),
        pytest.param(saved(scene(), "GIF", save_all=True, append_images=[Image.new("RGB", SIZE)]), id="animated GIF"),
        pytest.param(saved(scene(), "BMP"), id="BMP"),
        pytest.param(saved(scene(), "TIFF"), id="TIFF"),
        pytest.param(saved(scene(), "TIFF", compression="tiff_lzw"), id="TIFF, packed"),
        pytest.param(saved(scene().convert("CMYK"), "TIFF"), id="TIFF, CMYK"),
        pytest.param(
            saved(scene(), "TIFF", save_all=True, append_images=[Image.new("RGB", SIZE)]), id="TIFF with pages"
        ),
        pytest.param(saved(scene(), "AVIF", quality=95), id="AVIF"),
        pytest.param(heic(scene()), id="HEIC"),
    ],
)
async def test_what_services_refuse_looks_as_it_did(tmp_path: Path, data: bytes) -> None:
    image = await sent(tmp_path, data)

    assert (image.format, image.mode) == ("JPEG", "RGB")
    assert close(image, scene())


async def test_a_jpeg_with_arithmetic_coding_is_written_anew(tmp_path: Path) -> None:
    image = await sent(tmp_path, ARITHMETIC)

    assert image.getpixel((10, 10)) == pytest.approx((202, 43, 21), abs=3)
    assert image.getpixel((80, 10)) == pytest.approx((16, 38, 199), abs=3)
    assert not inspect_image(io.BytesIO(saved(image, "JPEG"))).arithmetic


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
async def test_sixteen_bits_become_eight_without_losing_the_light(tmp_path: Path, kind: str) -> None:
    grey = scene().convert("L")
    deep = grey.convert("I").point(lambda value: value * 257).convert("I;16")

    assert close(await sent(tmp_path, saved(deep, kind)), grey)


async def test_a_jpeg_is_of_high_quality_and_not_subsampled(tmp_path: Path) -> None:
    stripes = Image.new("RGB", (64, 64))
    for x in range(64):
        stripes.paste((255, 0, 0) if x % 2 else (0, 0, 255), (x, 0, x + 1, 64))

    assert close(await sent(tmp_path, saved(stripes, "BMP")), stripes, by=8.0)


# ---------------------------------------------------------------------------------------------- what Pillow warns of
def tiff_with_a_tag_too_long() -> bytes:
    data, entry = saved(scene(), "TIFF"), struct.pack("<HHI", 284, 3, 1)
    return data.replace(entry, struct.pack("<HHI", 284, 3, 1 << 29), 1)


def png_with_no_frames() -> bytes:
    data, body = saved(scene(), "PNG"), b"acTL" + bytes(8)
    return data[:33] + struct.pack(">I", 8) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


ODD = [
    pytest.param(tiff_with_a_tag_too_long(), id="TIFF with a tag that is too long"),
    pytest.param(png_with_no_frames(), id="animated PNG without frames"),
]


@pytest.mark.parametrize("data", ODD)
async def test_what_pillow_only_warns_of_is_no_trouble(tmp_path: Path, data: bytes) -> None:
    assert close(await sent(tmp_path, data), scene())  # warnings are errors here


QUIET = """
import asyncio, sys
from pathlib import Path
from tests.ports.test_fitter_port import ODD, sent
for number, odd in enumerate(ODD):
    folder = Path(sys.argv[1], str(number))
    folder.mkdir()
    asyncio.run(sent(folder, *odd.values))
"""


def test_nobody_sees_what_pillow_warns_of(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always::UserWarning", "-c", QUIET, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )

    assert (done.stdout, done.stderr) == ("", "")


def test_warnings_of_others_are_as_they_were(tmp_path: Path) -> None:
    """However many photos are decoded at a time, in whichever order they end."""
    path = tmp_path / "photo"
    path.write_bytes(tiff_with_a_tag_too_long())
    before = warnings.filters[:]

    with ThreadPoolExecutor(8) as threads:
        found = [*threads.map(PillowDecoder().measure, [str(path)] * 200)]

    assert {facts.mime for facts in found} == {"image/tiff"}
    assert warnings.filters[:] == before
    with pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


# ----------------------------------------------------------------------------------------------------- transparency
def half_transparent() -> Image.Image:
    image = scene().convert("RGBA")
    image.putalpha(Image.new("L", SIZE, 255))
    image.paste((0, 0, 0, 0), (48, 0, 96, 64))
    return image


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved(half_transparent().quantize(16), "PNG"), id="palette"),
        pytest.param(saved(half_transparent(), "GIF"), id="GIF"),
        pytest.param(saved(half_transparent(), "TIFF"), id="TIFF"),
        pytest.param(saved(half_transparent(), "AVIF", quality=95), id="AVIF"),
        pytest.param(heic(half_transparent()), id="HEIC"),
        pytest.param(
            saved(ImageOps.flip(half_transparent()), "WEBP", exif=turned(4), lossless=True), id="WebP, flipped"
        ),
    ],
)
async def test_what_is_transparent_stays_so_as_png(tmp_path: Path, data: bytes) -> None:
    image = await sent(tmp_path, data)

    assert (image.format, image.mode) == ("PNG", "RGBA")
    assert image.getpixel((90, 5))[3] < 8  # type: ignore[index]
    assert image.getpixel((10, 5)) == pytest.approx((220, 30, 30, 255), abs=12)


async def test_a_background_is_put_behind_what_is_transparent(tmp_path: Path) -> None:
    image = await sent(tmp_path, saved(half_transparent(), "PNG"), Fit(background="#10C0F0"))

    assert image.format == "JPEG"
    assert image.getpixel((90, 5)) == pytest.approx((0x10, 0xC0, 0xF0), abs=4)
    assert image.getpixel((10, 5)) == pytest.approx((220, 30, 30), abs=8)


async def test_a_single_transparent_colour_is_seen(tmp_path: Path) -> None:
    image = Image.new("RGB", (192, 128), (1, 2, 3))
    image.paste((200, 100, 50), (0, 0, 96, 128))
    data = saved(image, "PNG", transparency=(1, 2, 3))

    found = await sent(tmp_path, data, Fit(multiple_of=100))

    assert found.mode == "RGBA"
    assert found.getpixel((99, 5))[3] == 0  # type: ignore[index]
    assert found.getpixel((5, 5)) == (200, 100, 50, 255)


# ----------------------------------------------------------------------------------------------------------- colours
def swapped_profile() -> bytes:
    """A profile of which nobody would think that it is sRGB: Lab is far from it."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def wide_profile() -> bytes:
    """Of sRGB, with the primaries of red and green exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data)


async def test_an_embedded_profile_is_heeded(tmp_path: Path) -> None:
    red = Image.new("RGB", SIZE, (250, 10, 10))

    image = await sent(tmp_path, saved(red, "TIFF", icc_profile=wide_profile()))

    r, g, b = image.getpixel((5, 5))  # type: ignore[misc]
    assert g > 200
    assert max(r, b) < 60


@pytest.mark.parametrize("profile", [b"no profile", swapped_profile()], ids=["damaged", "of another kind"])
async def test_a_profile_that_is_of_no_use_is_left_out(tmp_path: Path, profile: bytes) -> None:
    assert close(await sent(tmp_path, saved(scene(), "TIFF", icc_profile=profile)), scene())


async def test_a_profile_leaves_transparency_alone(tmp_path: Path) -> None:
    image = await sent(tmp_path, saved(half_transparent(), "TIFF", icc_profile=wide_profile()))

    assert image.getpixel((90, 5))[3] == 0  # type: ignore[index]
    assert image.getpixel((10, 5))[3] == 255  # type: ignore[index]


# -------------------------------------------------------------------------------------------------- the same, always
async def test_the_same_bytes_come_out_in_another_folder(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(saved(scene((640, 480)), "TIFF"))
    photo = looked_at(path, Fitting(320, 240, 304, 240, "image/jpeg"))

    one = await PillowFitter(tmp_path / "one").fit(photo)
    two = await PillowFitter(tmp_path / "two").fit(photo)

    assert Path(one.path).read_bytes() == Path(two.path).read_bytes()
    assert Path(one.path).name == Path(two.path).name


async def test_the_next_run_finds_what_this_one_made(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(saved(scene(), "TIFF"))
    photo = looked_at(path, Fitting(*SIZE, *SIZE, "image/jpeg"))
    first = await PillowFitter(tmp_path / "fitted").fit(photo)
    (tmp_path / "fitted").rename(tmp_path / "moved")

    second = PillowFitter(tmp_path / "moved")

    assert replace(await second.fit(photo), path=first.path) == first
    assert second.made == 0


async def test_what_someone_else_wrote_over_a_fitted_photo_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(saved(scene(), "TIFF"))
    photo = looked_at(path, Fitting(*SIZE, *SIZE, "image/jpeg"))
    fitted = await PillowFitter(tmp_path / "fitted").fit(photo)
    before = Path(fitted.path).read_bytes()
    Path(fitted.path).write_bytes(bytes([*before[:-3], before[-3] ^ 1, *before[-2:]]))

    again = await PillowFitter(tmp_path / "fitted").fit(photo)

    assert Path(again.path).read_bytes() == before


async def test_the_oldest_go_first_and_the_latest_stay(tmp_path: Path) -> None:
    path, folder = tmp_path / "photo", tmp_path / "fitted"
    path.write_bytes(saved(scene(), "TIFF"))
    earlier = PillowFitter(folder)
    fitted = [await earlier.fit(looked_at(path, Fitting(*SIZE, 90 - n, 64, "image/jpeg"))) for n in range(3)]
    for number, one in enumerate(fitted):
        os.utime(one.path, ns=(number, number))
    (folder / "left-over.part").write_bytes(b"x" * 100)
    await to_thread.run_sync(earlier.sweep, 0)
    assert [Path(one.path).exists() for one in fitted] == [True, True, True], "they may be on their way"

    later = PillowFitter(folder)
    await to_thread.run_sync(later.sweep, fitted[2].size)

    assert [Path(one.path).exists() for one in fitted] == [False, False, True]
    assert len(list(folder.iterdir())) == 2, "the last one and its note"
    await to_thread.run_sync(later.sweep, 0)
    assert list(folder.iterdir()) == []


def test_a_sweep_of_nothing_is_no_problem(tmp_path: Path) -> None:
    PillowFitter(tmp_path / "nowhere").sweep()


async def test_a_long_run_does_not_fill_the_disk(tmp_path: Path) -> None:
    path, folder = tmp_path / "photo", tmp_path / "fitted"
    path.write_bytes(saved(scene(), "PNG"))
    fitter = PillowFitter(folder, max_bytes=20_000)
    for number in range(400):
        await fitter.fit(looked_at(path, Fitting(*SIZE, 96 - number % 20, 64 - number // 20, "image/jpeg")))

    assert fitter.made == 400
    assert len(list(folder.glob("*.jpg"))) < 400


# -------------------------------------------------------------------------------------------------------- limits
async def test_few_photos_are_decoded_at_a_time(tmp_path: Path) -> None:
    fitter = PillowFitter(tmp_path / "fitted")
    path = tmp_path / "photo"
    path.write_bytes(saved(scene((900, 600)), "PNG"))
    most = 0

    async def watch() -> None:
        nonlocal most
        while fitter.made < 8:
            most = max(most, fitter.threads.borrowed_tokens)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        for number in range(8):
            tasks.start_soon(fitter.fit, looked_at(path, Fitting(900, 600, 900 - number, 600, "image/jpeg")))

    assert most == 2


def noise(size: tuple[int, int], mode: str) -> Image.Image:
    return Image.frombytes(mode, size, os.urandom(size[0] * size[1] * len(mode)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "mime", "soft", "size"),
    [
        ("RGB", "image/jpeg", True, (4800, 4000)),
        ("RGB", "image/jpeg", False, (2243, 1869)),
        ("RGBA", "image/png", False, (2243, 1869)),
    ],
)
async def test_a_result_that_would_be_too_large_loses_quality_then_pixels(
    tmp_path: Path, mode: str, mime: str, size: tuple[int, int], *, soft: bool
) -> None:
    path = tmp_path / "photo"
    image = noise((4800, 4000), mode)
    if soft:
        image = Image.blend(image, Image.new(mode, image.size, "grey"), 0.6)
    image.save(path, "TIFF")
    photo = looked_at(path, Fitting(4800, 4000, 4800, 4000, mime))

    fitted = await PillowFitter(tmp_path / "fitted").fit(photo)

    assert fitted.size == Path(fitted.path).stat().st_size <= LARGEST_FILE
    with Image.open(fitted.path) as image:
        assert image.size == (fitted.width, fitted.height) == size


# ----------------------------------------------------------------------------------------------------- hostile bytes
OTHERS = {
    **{kind: saved(scene(), kind) for kind in ("AVIF", "BMP", "GIF", "TIFF")},
    "HEIC": heic(scene()),
}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved(scene(), "GIF")[:100], id="GIF"),
        pytest.param(saved(scene(), "BMP")[:-1000], id="BMP"),
        pytest.param(saved(scene(), "TIFF")[:-1000], id="TIFF"),
        pytest.param(saved(scene(), "AVIF")[:-10], id="AVIF"),
        pytest.param(heic(scene())[:-10], id="HEIC"),
        pytest.param(heic(scene())[:100], id="HEIC, header"),
        pytest.param(saved(scene(), "TIFF")[:20], id="TIFF, header"),
        pytest.param(b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 500, id="TIFF of nonsense"),
        pytest.param(b"BM" + b"\xff" * 100, id="BMP of nonsense"),
        pytest.param(b"GIF89a" + b"\xff" * 1000, id="GIF of nonsense"),
        pytest.param(b"PK\x03\x04" + b"\0" * 100, id="ZIP"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", id="PostScript, which Pillow would run"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_cut_or_no_image_is_told_before_anything_is_decoded(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "photo"
    path.write_bytes(data)

    with pytest.raises(NotAnImage):
        PillowDecoder().measure(str(path))


def test_a_file_that_claims_too_many_pixels_is_refused_unseen(tmp_path: Path) -> None:
    path = tmp_path / "bomb.bmp"
    data = bytearray(saved(scene(), "BMP"))
    data[18:26] = (60_000).to_bytes(4, "little") * 2
    path.write_bytes(data)

    with pytest.raises(NotAnImage, match=r"60000×60000 are 3433 MP, more than the 200 that can be made smaller here"):
        PillowDecoder().measure(str(path))


@given(st.sampled_from(sorted(OTHERS)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8))
def test_whatever_the_bytes_are_they_do_no_harm(kind: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(OTHERS[kind])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    with tempfile.NamedTemporaryFile() as file, contextlib.suppress(NotAnImage):
        file.write(data)
        file.flush()
        facts = PillowDecoder().measure(file.name)
        assert facts.width > 0
        assert facts.height > 0
        fitting_of(facts, len(data), AUTO)


@pytest.mark.parametrize("tag", [50706, 254])
def test_the_thumbnail_of_a_camera_raw_file_is_not_the_photo(tmp_path: Path, tag: int) -> None:
    path = tmp_path / "photo.dng"
    scene().save(path, "TIFF", tiffinfo={tag: b"\1\4\0\0" if tag == 50706 else 1})

    with pytest.raises(NotAnImage, match="camera raw") as caught:
        PillowDecoder().measure(str(path))
    assert caught.value.remedy == "export it as JPEG or TIFF"


def test_a_file_that_can_not_be_read_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PillowDecoder().measure(str(tmp_path / "nowhere"))


async def test_what_turns_out_damaged_only_now_is_an_error_of_that_photo(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    data = saved(scene(), "PNG")
    start, end = data.index(b"IDAT"), data.index(b"IEND") - 8
    nonsense = b"IDAT" + b"\xff" * (end - start - 4)
    path.write_bytes(data[:start] + nonsense + zlib.crc32(nonsense).to_bytes(4, "big") + data[end + 4 :])
    fitter = PillowFitter(tmp_path / "fitted")

    for _ in range(2):
        with pytest.raises(PhotoError, match="photo: it is a PNG image that can't be decoded"):
            await fitter.fit(looked_at(path, Fitting(*SIZE, *SIZE, "image/jpeg")))
    assert fitter.made == 0
    assert not (tmp_path / "fitted").exists()


def is_being_read(path: Path) -> bool:
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if link.readlink() == path:
                return not Path(f"/proc/self/fdinfo/{link.name}").read_text().startswith("pos:\t0\n")
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells how far a file was read")
async def test_a_photo_that_changes_while_it_is_decoded_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    data = await to_thread.run_sync(lambda: saved(scene((6000, 3000)), "PNG", compress_level=0))
    path.write_bytes(data)  # 54 MB, of which the first piece is seen to be read
    fitter = PillowFitter(tmp_path / "fitted")
    photo = looked_at(path, Fitting(600, 300, 600, 300, "image/jpeg"))

    async def touch() -> None:
        while not is_being_read(path):
            await anyio.lowlevel.checkpoint()
        os.utime(path)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(touch)
        with pytest.raises(PhotoChanged):
            await fitter.fit(photo)
    assert not (tmp_path / "fitted").exists()


FULL = """
import resource, signal, sys
from pathlib import Path
import anyio
from fluxbatch.adapters.fitting import PillowFitter
from fluxbatch.errors import StorageError
from fluxbatch.model.job import Fitting, Photo
path = Path(sys.argv[1])
facts = path.stat()
photo = Photo("photo", str(path), "image/bmp", facts.st_size, facts.st_mtime_ns, facts.st_ino, 900, 600, "d",
              fitting=Fitting(900, 600, 900, 600, "image/png"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
folder = path.parent / "fitted"
try:
    anyio.run(PillowFitter(folder).fit, photo)
except StorageError as error:
    print(error.message, [one.name for one in folder.iterdir()])
"""


def test_a_disk_that_takes_no_more_is_told_and_nothing_is_left_there(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    noise((900, 600), "RGB").save(path, "BMP")

    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True, timeout=50
    )

    assert done.stdout.startswith(f"{tmp_path}/fitted can't be written: ")
    assert done.stdout.endswith(" []\n")


# ---------------------------------------------------------------------------------------------------------- memory
MEMORY = """
import sys
from pathlib import Path
import anyio
from fluxbatch.adapters.fitting import PillowFitter
from fluxbatch.model.job import Fitting, Photo
import PIL.JpegImagePlugin, PIL.ImageCms

def most():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

path = Path(sys.argv[1])
facts = path.stat()
photo = Photo("photo", str(path), "image/jpeg", facts.st_size, facts.st_mtime_ns, facts.st_ino, 6000, 4000, "d",
              fitting=Fitting(2448, 1632, 2448, 1632, "image/jpeg"))
before = most()
anyio.run(PillowFitter(path.parent / "fitted").fit, photo)
print(most() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told by /proc")
def test_a_large_photo_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    scene((6000, 4000)).save(path, "JPEG")

    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True, timeout=50
    )

    assert int(done.stdout) < 100 * 1024, "with all its pixels it would be half as much again"


def test_who_fits_nothing_does_not_pay_for_pillow() -> None:
    code = "import sys, fluxbatch.adapters.fitting, fluxbatch.planning.intake; sys.exit('PIL' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=50).returncode == 0
