"""Facts against Pillow, on real photos and on what cameras, phones and editors write."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image, features

from fluxbatch.formats import ImageFacts, NotAnImage, inspect_image
from tests.pictures import saved

PHOTOS = sorted(
    path for path in (Path(__file__).parents[2] / "jobs/photos").iterdir() if path.suffix in {".jpg", ".png", ".webp"}
)


def facts_of(data: bytes) -> ImageFacts:
    return inspect_image(io.BytesIO(data))


def picture(mode: str = "RGB", size: tuple[int, int] = (96, 64)) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.name)
def test_real_photos_are_seen_as_pillow_sees_them(path: Path) -> None:
    with path.open("rb") as file:
        facts = inspect_image(file)
    with Image.open(path) as image:
        assert (facts.width, facts.height) == image.size
        assert facts.mime == image.get_format_mimetype()
        assert facts.components == len(image.getbands())
    assert facts.extension == path.suffix[1:]
    assert (facts.animated, facts.palette, facts.cmyk, facts.multi_picture) == (False, False, False, False)


def test_there_are_photos_of_all_three_formats() -> None:
    assert {path.suffix for path in PHOTOS} == {".jpg", ".png", ".webp"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(saved(picture(), "JPEG", progressive=True), {"mime": "image/jpeg"}, id="progressive"),
        pytest.param(saved(picture("L"), "JPEG"), {"components": 1}, id="grey JPEG"),
        pytest.param(saved(picture("CMYK"), "JPEG"), {"components": 4, "cmyk": True}, id="CMYK"),
        pytest.param(saved(picture(), "JPEG", exif=turned(6)), {"orientation": 6}, id="EXIF rotation"),
        pytest.param(saved(picture("RGBA"), "PNG"), {"components": 4, "cmyk": False}, id="RGBA"),
        pytest.param(saved(picture("P"), "PNG"), {"palette": True, "components": 1}, id="palette"),
        pytest.param(saved(picture("I;16"), "PNG"), {"bits": 16, "components": 1}, id="16 bits"),
        pytest.param(saved(picture(), "PNG", exif=turned(3)), {"orientation": 3}, id="EXIF in PNG"),
        pytest.param(saved(picture(), "WEBP", lossless=True), {"components": 3}, id="lossless WebP"),
        pytest.param(saved(picture(), "WEBP", quality=50), {"mime": "image/webp"}, id="lossy WebP"),
        pytest.param(saved(picture("RGBA"), "WEBP", exif=turned(8)), {"orientation": 8}, id="extended WebP"),
    ],
)
def test_modes(data: bytes, expected: dict[str, object]) -> None:
    facts = facts_of(data)

    assert (facts.width, facts.height) == (96, 64)
    assert {name: getattr(facts, name) for name in expected} == expected


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animations_are_told_from_still_images(kind: str) -> None:
    assert features.check("webp")
    frames = [picture().rotate(angle) for angle in (0, 90, 180)]

    assert facts_of(saved(frames[0], kind, save_all=True, append_images=frames[1:])).animated
    assert not facts_of(saved(frames[0], kind)).animated


def test_a_phone_photo_of_several_pictures() -> None:
    facts = facts_of(saved(picture(), "MPO", save_all=True, append_images=[picture()]))

    assert facts.multi_picture
    assert (facts.width, facts.height) == (96, 64)


def test_arithmetic_coding_is_told_by_its_frame_header() -> None:
    data = saved(picture(), "JPEG")

    assert facts_of(data.replace(b"\xff\xc0", b"\xff\xc9", 1)).arithmetic
    assert not facts_of(data).arithmetic


@pytest.mark.parametrize(("frame", "bits"), [(0xC1, 8), (0xC1, 12), (0xC2, 12), (0xC3, 16)])
def test_bits_of_a_jpeg_are_told_by_its_frame_header(frame: int, bits: int) -> None:
    data = bytearray(saved(picture(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4] = frame, bits

    facts = facts_of(bytes(data))

    assert (facts.bits, facts.width, facts.components) == (bits, 96, 3)


def with_thumbnail(photo: bytes) -> bytes:
    """A photo with another whole JPEG, end marker and all, in its EXIF segment."""
    thumbnail = saved(picture(size=(32, 32)), "JPEG")
    payload = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    return photo[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload + photo[2:]


def test_the_thumbnail_is_not_the_photo() -> None:
    data = with_thumbnail(saved(picture(), "JPEG"))

    assert facts_of(data).width == 96
    end_of_thumbnail = data.index(b"\xff\xd9") + 2
    with pytest.raises(NotAnImage, match="cut short"):
        facts_of(data[:end_of_thumbnail])
    with pytest.raises(NotAnImage, match="cut short"):
        facts_of(data[:-2])


@pytest.mark.parametrize("tail", [b"\0" * 7, b"\0" * 10_000, b"SEFH" + b"phone notes" * 900, b"\xff\xe0film" * 2000])
def test_what_phones_append_behind_the_end_is_allowed(tail: bytes) -> None:
    assert facts_of(PHOTOS[0].read_bytes() + tail).mime == "image/jpeg"


@pytest.mark.parametrize("tail", [b"", b"\0" * 100, b"\0" * 10_000])
def test_padding_does_not_hide_a_missing_end(tail: bytes) -> None:
    with pytest.raises(NotAnImage, match="cut short"):
        facts_of(PHOTOS[0].read_bytes()[:-2] + tail)


def test_a_progressive_jpeg_with_an_appendix_is_walked_to_its_end() -> None:
    data = saved(Image.effect_noise((640, 480), 60).convert("RGB"), "JPEG", progressive=True, quality=95)

    assert facts_of(data + b"appendix" * 3000).width == 640
    with pytest.raises(NotAnImage, match="cut short"):
        facts_of(data[:-2] + b"appendix" * 3000)


@pytest.mark.parametrize("flipped", [20, 60, 2000, -20])
def test_a_flipped_bit_in_a_png_is_found(flipped: int) -> None:
    data = bytearray(next(path for path in PHOTOS if path.suffix == ".png").read_bytes())
    data[flipped] ^= 4

    with pytest.raises(NotAnImage):
        facts_of(bytes(data))


def test_a_wrong_checksum_names_its_chunk() -> None:
    data = bytearray(saved(picture(), "PNG"))
    data[data.index(b"IDAT") + 8] ^= 1

    with pytest.raises(NotAnImage, match="wrong checksum of PNG chunk IDAT"):
        facts_of(bytes(data))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 8, 8, 2, 0, 0, 0)), "no usable width"),
        (
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""),
            "without image data",
        ),
        (b"\xff\xd8\xff\xd9", "without image data"),
        (b"RIFF\x04\0\0\0WEBP", "without image data"),
    ],
)
def test_a_shell_without_an_image(data: bytes, message: str) -> None:
    with pytest.raises(NotAnImage, match=message):
        facts_of(data)


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"", "empty", "empty"),
        (b"GIF89a......", "gif", "GIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "heic", "HEIC"),
        (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1", "avif", "AVIF"),
        (b"\0\0\0\x20ftypisom\0\0\0\0isommp42", "video", "video"),
        (b"BM....", "bmp", "BMP"),
        (b"II*\0....", "tiff", "TIFF"),
        (b"%PDF-1.7", "pdf", "PDF"),
        (b"  <!DOCTYPE html><html>", "html", "HTML"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><Error>', "xml", "XML"),
        (b'<?xml version="1.0"?><svg xmlns', "svg", "SVG"),
        (b'{"error": {}}', "json", "JSON"),
        (b"version https://git-lfs.github.com/spec/v1", "lfs", "LFS"),
        (b"RIFF\0\0\0\0WAVE", "", "no image"),
        (b"just text", "", "no image"),
    ],
)
def test_other_files_are_named(data: bytes, kind: str, message: str) -> None:
    with pytest.raises(NotAnImage, match=message) as raised:
        facts_of(data)
    assert raised.value.kind == kind


@pytest.mark.parametrize("kind", ["gif", "avif", "bmp", "tiff"])
def test_files_that_pillow_writes_are_named(kind: str) -> None:
    with pytest.raises(NotAnImage) as raised:
        facts_of(saved(picture(), kind.upper()))
    assert raised.value.kind == kind


def test_an_unbuffered_file_that_reads_in_drops() -> None:
    class Drops(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 7) if size != -1 else 7)

    assert inspect_image(Drops(PHOTOS[0].read_bytes())).mime == "image/jpeg"
