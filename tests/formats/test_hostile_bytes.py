"""No bytes crash the inspection, and a real photo that was cut anywhere is found out."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fluxbatch.formats import NotAnImage, inspect_image, recognise

FOLDER = Path(__file__).parents[2] / "jobs/photos"
PHOTOS = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.suffix in {".jpg", ".png", ".webp"}}
STARTS = (
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\x20\0\0\0WEBP",
    b"RIFF\x20\0\0\0WEBPVP8X",
    b"\xff\xd8\xff\xe1",
)


def refused(data: bytes) -> bool:
    try:
        inspect_image(io.BytesIO(data))
    except NotAnImage as problem:
        return bool(problem.message)
    return False


@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=300))
def test_no_bytes_crash_it(start: bytes, rest: bytes) -> None:
    refused(start + rest)


@given(
    name=st.sampled_from(sorted(PHOTOS)),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6),
)
def test_no_damage_crashes_it(name: str, edits: list[tuple[int, bytes]]) -> None:
    data = bytearray(PHOTOS[name])
    for at, patch in edits:
        data[at : at + len(patch)] = patch
    refused(bytes(data))


@pytest.mark.parametrize("name", sorted(PHOTOS))
@given(share=st.floats(0, 1, exclude_max=True))
@example(share=0.999999)
def test_a_cut_anywhere_is_found(name: str, share: float) -> None:
    data = PHOTOS[name]
    assert refused(data[: int(len(data) * share)])


@pytest.mark.parametrize("name", sorted(PHOTOS))
def test_a_cut_near_either_end_is_found(name: str) -> None:
    data = PHOTOS[name]
    assert all(refused(data[:length]) for length in range(700))
    assert all(refused(data[:-missing]) for missing in range(1, 300))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bricks.jpg", "cat.webp"])
def test_a_cut_at_every_single_byte_is_found(name: str) -> None:
    data = PHOTOS[name]
    assert all(refused(data[:length]) for length in range(len(data)))


@given(st.binary(max_size=80))
def test_any_start_has_a_kind_or_none(head: bytes) -> None:
    assert recognise(head).isidentifier() or recognise(head) == ""


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 200_000,
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 100_000,
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0abcd\0\0\0\0" * 20_000,
        b"RIFF\xf8\xff\x0f\0WEBP" + b"abcd\0\0\0\0" * 200_000,
    ],
)
@pytest.mark.timeout(5)
def test_files_made_of_nothing_but_structure_end_soon(data: bytes) -> None:
    assert refused(data)


@pytest.mark.parametrize("name", sorted(PHOTOS))
@given(tail=st.sampled_from([0, 1, 5000, 300_000, 1 << 20]))
def test_all_bytes_are_handed_out_along_the_way(name: str, tail: int) -> None:
    """In order and each once, whatever is looked at twice or out of order."""
    data = PHOTOS[name] + bytes(tail)
    seen = bytearray()
    assert inspect_image(io.BytesIO(data), along=seen.extend) == inspect_image(io.BytesIO(data))
    assert bytes(seen) == data
