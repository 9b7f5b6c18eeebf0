"""What kind of file it is, by its first bytes: what can be sent, and what people mistake for it."""

from __future__ import annotations

from typing import Final

__all__ = ["describe", "recognise"]

_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"%PDF", "pdf"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\0\0\x01\0", "ico"),
    (b"8BPS", "psd"),
    (b"PK\x03\x04", "zip"),
    (b"version https://git-lfs", "lfs"),
)
_TEXT_STARTS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"<!doctype html", "html"),
    (b"<html", "html"),
    (b"<head", "html"),
    (b"<svg", "svg"),
    (b"<?xml", "xml"),
    (b"{", "json"),
    (b"[", "json"),
)
_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_NAMES: Final[dict[str, str]] = {
    "jpeg": "a JPEG image",
    "png": "a PNG image",
    "webp": "a WebP image",
    "gif": "a GIF image",
    "heic": "a HEIC photo",
    "avif": "an AVIF image",
    "bmp": "a BMP image",
    "tiff": "a TIFF or camera raw image",
    "jxl": "a JPEG XL image",
    "ico": "an icon file",
    "psd": "a Photoshop file",
    "pdf": "a PDF document",
    "zip": "a ZIP archive",
    "video": "a video",
    "html": "an HTML page",
    "svg": "an SVG drawing",
    "xml": "an XML text",
    "json": "a JSON text",
    "lfs": "a Git LFS pointer",
    "": "no image that is known here",
}


def recognise(head: bytes) -> str:
    """The kind of file that begins with ``head`` (64 bytes are enough), empty if it is none of those known here."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for text, kind in _TEXT_STARTS:
        if start.startswith(text):
            return "svg" if kind == "xml" and b"<svg" in start else kind
    return ""


def describe(kind: str) -> str:
    """A kind in words, with its article: ``a HEIC photo``."""
    return _NAMES.get(kind, _NAMES[""])


def _iso_media(head: bytes) -> str:
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(len(head), 64), 4))]
    if b"avif" in brands or b"avis" in brands:
        return "avif"
    return "heic" if any(brand in _HEIF_BRANDS for brand in brands) else "video"
