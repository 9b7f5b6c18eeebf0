"""Photos that are made fit: what is planned for them, what is said about them, and how they share a model's limit."""

from __future__ import annotations

import io
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from fluxbatch.adapters.fitting import PillowDecoder
from fluxbatch.model.flux import FluxModel
from fluxbatch.model.job import Fit, JobOutput, Photo, RemoteImage
from fluxbatch.model.problem import Level
from fluxbatch.model.state import Reason
from fluxbatch.planning.photo_fit import share_out
from fluxbatch.planning.photos import Checked, PhotoBook
from fluxbatch.planning.scratch import Scratch
from fluxbatch.policy.fitting import MEGAPIXEL, sent_pixels
from fluxbatch.testing import MemoryMemo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fluxbatch.model.job import Fitting
    from fluxbatch.ports import Memo

OFF = Fit(off=True)
AUTO = Fit()
LYING = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (96, 64), **options: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def several(kind: str) -> bytes:
    return saved(kind, save_all=True, append_images=[Image.new("RGB", (96, 64), "white")])


def heic() -> bytes:
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (96, 64))).save(file)
    return file.getvalue()


@contextmanager
def book(memo: Memo | None = None) -> Iterator[PhotoBook]:
    scratch = Scratch()
    try:
        yield PhotoBook(scratch, memo, PillowDecoder())
    finally:
        scratch.close()


def checked(folder: Path, data: bytes, fit: Fit, name: str = "a.jpg") -> Checked:
    path = folder / name
    path.write_bytes(data)
    with book() as photos:
        return photos.check(str(path), name, fit)[0]


def fitting_of(found: Checked) -> Fitting:
    assert found.photo is not None
    assert found.photo.fitting is not None
    return found.photo.fitting


def lines(found: Checked) -> list[str]:
    return [f"{flaw.level}: {flaw.message} ({flaw.remedy})" for flaw in found.flaws]


def of_bits(frame: int, bits: int) -> bytes:
    """A JPEG that says so of itself."""
    data = bytearray(saved("JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = frame, bits
    return bytes(data)


@pytest.mark.parametrize("fit", [AUTO, OFF, Fit(long_edge=64)], ids=["auto", "off", "smaller"])
@pytest.mark.parametrize(("frame", "bits"), [(0xC1, 12), (0xC2, 12), (0xC9, 12), (0xC3, 16)])
def test_a_jpeg_of_more_than_eight_bits_is_refused_before_the_run(
    tmp_path: Path, frame: int, bits: int, fit: Fit
) -> None:
    found = checked(tmp_path, of_bits(frame, bits), fit)

    what = f"it is a JPEG of {bits} bits a channel, which most programs can't read"
    assert lines(found) == [f"error: a.jpg: {what} (export it as a JPEG of 8 bits, or as a PNG)"]
    assert found.errors[0].reason is Reason.BAD_IMAGE


def test_an_extended_jpeg_of_eight_bits_is_fine(tmp_path: Path) -> None:
    assert checked(tmp_path, of_bits(0xC1, 8), AUTO).errors == ()


# ------------------------------------------------------------------------------------------------- what auto mends
@pytest.mark.parametrize(
    ("data", "why", "message", "reason"),
    [
        (saved("JPEG", "CMYK"), "CMYK to RGB", "its colours are CMYK, for printing", Reason.BAD_IMAGE),
        (
            several("MPO"),
            "first picture of several (MPO)",
            "it holds several pictures (MPO, as some phones write .jpg)",
            Reason.BAD_IMAGE,
        ),
        (
            saved("JPEG").replace(b"\xff\xc0", b"\xff\xc9", 1),
            "arithmetic coding to Huffman coding",
            "it is a JPEG with arithmetic coding, which services can't read",
            Reason.BAD_IMAGE,
        ),
        (saved("GIF"), "GIF to JPEG", "it is a GIF image, not a JPEG, PNG or WebP image", Reason.BAD_IMAGE),
        (saved("BMP"), "BMP to JPEG", "it is a BMP image, not a JPEG, PNG or WebP image", Reason.BAD_IMAGE),
        (
            saved("TIFF", "RGBA"),
            "TIFF to PNG",
            "it is a TIFF or camera raw image, not a JPEG, PNG or WebP image",
            Reason.BAD_IMAGE,
        ),
        (saved("AVIF"), "AVIF to JPEG", "it is an AVIF image, not a JPEG, PNG or WebP image", Reason.BAD_IMAGE),
        (heic(), "HEIC to JPEG", "it is a HEIC photo, not a JPEG, PNG or WebP image", Reason.BAD_IMAGE),
        (
            saved("PNG", "1", size=(5120, 4112)),
            "scaled from 5120×4112 to 2285×1835",
            "5120×4112 are 20.1 MP, the limit is 20",
            Reason.TOO_LARGE,
        ),
        (
            saved("JPEG") + b"\0" * (20 << 20),
            "written anew, 20.0 MB are too large",
            "it is 20.0 MB large, the limit is 20",
            Reason.TOO_LARGE,
        ),
    ],
)
def test_what_is_refused_is_mended_unless_that_is_off(
    tmp_path: Path, data: bytes, why: str, message: str, reason: Reason
) -> None:
    assert why in fitting_of(found := checked(tmp_path, data, AUTO)).why
    assert found.errors == ()

    (error,) = checked(tmp_path, data, OFF).errors
    assert (error.message, error.remedy, error.reason) == (f"a.jpg: {message}", "leave out fit: off", reason)


@pytest.mark.parametrize(
    ("data", "why", "message"),
    [
        (
            saved("JPEG", size=(96, 64), exif=LYING),
            "turned upright (EXIF)",
            "only EXIF says that it is to be turned, the service may see it lying (leave out fit: off)",
        ),
        (
            saved("PNG", "P", size=(64, 64)),
            "palette to RGB",
            "its colours come from a palette, some services misread that (leave out fit: off)",
        ),
        (
            saved("PNG", "I;16", size=(64, 64)),
            "16 to 8 bits",
            "it has 16 bits a channel, the service uses 8 ()",
        ),
    ],
)
def test_what_is_seen_wrongly_is_mended_unless_that_is_off(tmp_path: Path, data: bytes, why: str, message: str) -> None:
    mended = checked(tmp_path, data, AUTO, "a")
    assert fitting_of(mended).why == (why,)
    assert not any("EXIF" in line or "palette" in line or "bits" in line for line in lines(mended))

    left = checked(tmp_path, data, OFF, "a")
    assert left.photo is not None
    assert left.photo.fitting is None
    assert f"warning: a: {message}" in lines(left)


@pytest.mark.parametrize("data", [several("PNG"), several("WEBP"), several("GIF")], ids=["PNG", "WebP", "GIF"])
def test_of_an_animation_the_first_frame_is_sent_and_that_is_said(tmp_path: Path, data: bytes) -> None:
    found = checked(tmp_path, data, AUTO, "a")

    assert "first frame of an animation" in fitting_of(found).why
    assert lines(found) == ["warning: a: it is animated, only its first frame is sent ()"]
    assert checked(tmp_path, data, OFF, "a").errors != ()


def test_of_a_tiff_with_pages_the_first_is_sent_and_that_is_said(tmp_path: Path) -> None:
    found = checked(tmp_path, several("TIFF"), AUTO, "a.tif")

    assert lines(found) == ["warning: a.tif: it holds several pictures, only the first is sent ()"]


@pytest.mark.parametrize("fit", [AUTO, OFF, Fit(max_megapixels=4, multiple_of=16, background="#FFFFFF")])
def test_a_photo_that_needs_nothing_goes_byte_for_byte(tmp_path: Path, fit: Fit) -> None:
    found = checked(tmp_path, saved("JPEG", size=(96, 64)), fit)

    assert found.photo is not None
    assert found.photo.fitting is None
    assert found.flaws == ()


@pytest.mark.parametrize("fit", [AUTO, OFF])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (saved("JPEG")[:-9], "it is cut short"),
        (several("GIF")[:60], "it is cut short"),
        (heic()[:-5], "it is cut short"),
        (saved("PNG", size=(96, 63)), "96×63 pixels are too small, the least is 64×64"),
        (saved("BMP", size=(63, 96)), "63×96 pixels are too small, the least is 64×64"),
    ],
)
def test_what_can_not_be_mended_stays_an_error(tmp_path: Path, data: bytes, message: str, fit: Fit) -> None:
    found = checked(tmp_path, data, fit, "a")

    assert found.errors[0].message.startswith(f"a: {message}")
    assert found.errors[0].remedy in {"copy or download it again", "use a larger photo"}


def test_more_pixels_than_are_ever_decoded_are_an_error(tmp_path: Path) -> None:
    header = saved("JPEG")
    at = header.index(b"\xff\xc0") + 5
    bomb = header[:at] + b"\xff\xff\xff\xff" + header[at + 4 :]

    (error,) = checked(tmp_path, bomb, AUTO).errors

    assert error.message == "a.jpg: 65535×65535 are 4095.9 MP, the limit is 200"
    assert error.remedy == "make it smaller: magick a.jpg -resize 2048x2048 a-new.jpg"


def test_a_small_file_that_claims_too_many_pixels_is_an_error(tmp_path: Path) -> None:
    data = bytearray(saved("BMP"))
    data[18:26] = (60_000).to_bytes(4, "little") * 2

    (error,) = checked(tmp_path, bytes(data), AUTO, "a.bmp").errors

    assert error.message == "a.bmp: 60000×60000 are 3433 MP, more than the 200 that can be made smaller here"
    assert error.remedy == "make it smaller: magick a.bmp -resize 2048x2048 a.jpg"


def test_without_the_heic_library_the_remedy_is_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = heic()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)

    (error,) = checked(tmp_path, data, AUTO, "in.heic").errors

    assert error.message == "in.heic: it is a HEIC photo, and what reads those is not installed"
    assert error.remedy == "pip install 'fluxbatch[heic]'"


# ------------------------------------------------------------------------------------------------------- warnings
@pytest.mark.parametrize(
    ("size", "remedy", "fit"),
    [
        ((2048, 2064), "fit: {max_megapixels: 4}", Fit(max_megapixels=4)),
        ((100, 64), "fit: {multiple_of: 16}", Fit(multiple_of=16)),
    ],
)
def test_the_remedy_of_a_warning_is_of_help(tmp_path: Path, size: tuple[int, int], remedy: str, fit: Fit) -> None:
    data = saved("JPEG", "L", size)

    assert [flaw.remedy for flaw in checked(tmp_path, data, AUTO).flaws] == [remedy]
    assert checked(tmp_path, data, fit).flaws == ()


def test_a_warning_is_told_once_whatever_the_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved("PNG", "P", size=(100, 64)))
    with book() as photos:
        auto, first = photos.check(str(path), "a.png", AUTO)
        again, second = photos.check(str(path), "a.png", AUTO)
        off, third = photos.check(str(path), "a.png", OFF)

    assert (first, second, third) == (True, False, True)
    assert auto == again
    assert len(auto.flaws) == 1
    assert [flaw.message for flaw in off.flaws] == [
        "a.png: its colours come from a palette, some services misread that"
    ]


def test_what_was_told_is_known_once_it_is_no_longer_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved("PNG", size=(100, 64)))
    with book() as photos:
        photos.check(str(path), "a.png", AUTO)
        for number in range(2100):
            photos.check(str(tmp_path / str(number)), "x", AUTO)
        found, _ = photos.check(str(path), "b.png", AUTO)

    assert found.photo is not None
    assert found.photo.ref == "b.png"
    assert found.flaws == ()


def test_facts_are_remembered_whatever_the_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(heic())
    memo = MemoryMemo()
    found = []
    for fit in (AUTO, OFF, AUTO):
        with book(memo) as photos:
            photos.prepare([str(path)])
            found.append(photos.check(str(path), "a.heic", fit)[0])
            photos.close()

    assert found[0] == found[2]
    assert fitting_of(found[0]).why == ("HEIC to JPEG",)
    assert [flaw.level for flaw in found[1].flaws] == [Level.ERROR]


# ---------------------------------------------------------------------------------------------- a limit over them all
PRO = FluxModel("pro", 8, max_total_megapixels=9)


def share(
    folder: Path, sizes: list[tuple[int, int]], model: FluxModel, output: int = 0, fit: Fit = AUTO
) -> list[Photo]:
    with book() as photos:
        images = []
        for number, size in enumerate(sizes):
            path = folder / f"{number}.jpg"
            path.write_bytes(saved("JPEG", "L", size))
            photo = photos.check(str(path), path.name, fit)[0].photo
            assert photo is not None
            images.append(photo)
        shared = share_out([RemoteImage("https://a.example/b"), *images, JobOutput("b")], photos, model, output, fit)
    assert shared[0] == RemoteImage("https://a.example/b")
    assert shared[-1] == JobOutput("b")
    return [image for image in shared if isinstance(image, Photo)]


SQUARES = [(2048, 2048), (2048, 2048), (1024, 1024)]


def test_photos_over_the_limit_of_a_model_are_made_smaller(tmp_path: Path) -> None:
    found = share(tmp_path, SQUARES, PRO, output=2 * MEGAPIXEL)

    assert sum(map(sent_pixels, found)) <= 7 * MEGAPIXEL
    assert found[0].fitting is not None
    assert found[0].fitting.why == ("scaled from 2048×2048 to 1773×1773",)
    assert found[1].fitting == found[0].fitting
    assert found[2].fitting is None, "the small one is not touched"


@pytest.mark.parametrize(
    ("model", "output", "fit"),
    [(PRO, 0, AUTO), (FluxModel("max", 8), MEGAPIXEL, AUTO), (PRO, MEGAPIXEL, OFF), (PRO, 20 * MEGAPIXEL, AUTO)],
    ids=["it fits", "no limit", "off", "the output alone is too large"],
)
def test_photos_are_left_alone(tmp_path: Path, model: FluxModel, output: int, fit: Fit) -> None:
    found = share(tmp_path, SQUARES, model, output, fit)

    assert [photo.fitting for photo in found] == [None, None, None]


def test_larger_photos_count_as_what_the_service_makes_of_them(tmp_path: Path) -> None:
    assert [photo.fitting for photo in share(tmp_path, [(4096, 3072), (4096, 3072)], PRO)] == [None, None]


def test_wishes_hold_besides_the_limit(tmp_path: Path) -> None:
    found = share(tmp_path, [(2000, 2000)] * 3, PRO, MEGAPIXEL, Fit(multiple_of=16, long_edge=1800))

    assert {(photo.fitting.crop_width, photo.fitting.crop_height) for photo in found if photo.fitting} == {(1664, 1664)}
