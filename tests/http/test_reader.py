from __future__ import annotations

import base64
import io
import json
import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxbatch.adapters.http.answer import AnswerReader, TooLarge, decode_base64

if TYPE_CHECKING:
    from pathlib import Path

CAP = 1 << 20
LONG = 64 * 1024 + 1

TEXTS = st.text(st.sampled_from('{}[]":,\\/\n\t äß图\u2028\U0001f600abcn')) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
ANSWERS = st.dictionaries(TEXTS, VALUES, max_size=5) | st.lists(VALUES, max_size=5)


def reader_of(cap: int = CAP) -> tuple[AnswerReader, list[io.BytesIO]]:
    spools: list[io.BytesIO] = []

    def spool() -> io.BytesIO:
        spools.append(io.BytesIO())
        return spools[-1]

    return AnswerReader(spool, cap=cap), spools


def feed(reader: AnswerReader, data: bytes, cuts: list[int]) -> int:
    """Feed the data in pieces; how much was fed when it was complete, -1 if it never was."""
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(bounds):
        if reader.feed(data[start:end]):
            return end
    return -1


@given(ANSWERS, st.booleans(), st.sampled_from(["", " ", "\r\n\t "]), st.lists(st.integers(0, 10_000)))
def test_any_json_in_any_pieces(value: Any, ascii_only: bool, space: str, cuts: list[int]) -> None:
    data = (space + json.dumps(value, ensure_ascii=ascii_only)).encode()
    reader, spools = reader_of()
    assert feed(reader, data, cuts) == len(data), "complete with the last byte, and not before"
    assert reader.value() == value
    assert not spools


@given(ANSWERS, st.binary(max_size=20), st.lists(st.integers(0, 10_000)))
def test_what_follows_the_json_does_not_matter(value: Any, tail: bytes, cuts: list[int]) -> None:
    reader, _ = reader_of()
    assert feed(reader, json.dumps(value).encode() + tail, cuts) > 0
    assert reader.value() == value


def test_split_at_every_byte() -> None:
    value = {
        "data": [{"url": 'https://x/?a={"}]&b=\\"\\\\'}],
        "e\\": "\\",
        "n": [[], {}, [{}]],
        "t": "\u56fe\U0001f600",
    }
    for data in (json.dumps(value).encode(), json.dumps(value, ensure_ascii=False).encode()):
        for cut in range(len(data)):
            reader, _ = reader_of()
            assert not reader.feed(data[:cut])
            assert reader.feed(data[cut:])
            assert reader.value() == value
        reader, _ = reader_of()
        assert [reader.feed(data[n : n + 1]) for n in range(len(data))] == [False] * (len(data) - 1) + [True]
        assert reader.value() == value


@settings(max_examples=30)
@given(st.integers(LONG, LONG + 5000), TEXTS, TEXTS, st.booleans(), st.lists(st.integers(0, 10**6), max_size=30))
def test_a_long_string_goes_to_the_spool(size: int, before: str, after: str, ascii_only: bool, cuts: list[int]) -> None:
    text = ('a"\\/{\n图' * size)[:size]
    value = {"before": before, "data": [{"b64_json": text, "after": after}]}
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    reader, spools = reader_of()
    assert feed(reader, data, cuts) == len(data)
    found = reader.value()
    item = found["data"][0]
    assert reader.is_spooled(item["b64_json"])
    assert (found["before"], item["after"]) == (before, after)
    assert json.loads(b'"%b"' % spools[0].getvalue()) == text
    assert len(spools) == 1
    assert text.startswith(reader.spooled_start())
    assert len(reader.spooled_start()) >= 600


def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    """64 MB of base64, read in pieces and decoded."""
    piece = base64.b64encode(bytes(range(256)) * 3) * 128
    tracemalloc.start()
    try:
        with (tmp_path / "spool").open("w+b") as spool, (tmp_path / "image").open("wb") as image:
            reader = AnswerReader(lambda: spool, cap=1 << 30)
            reader.feed(b'{"data":[{"b64_json":"')
            for _ in range((64 << 20) // len(piece)):
                reader.feed(piece)
            assert reader.feed(b'"}]}')
            decode_base64(spool, image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "image").stat().st_size == (64 << 20) // len(piece) * len(piece) // 4 * 3
    assert peak < 8 << 20


def test_only_one_string_is_spooled() -> None:
    value = {"a": "A" * LONG, "b": "B" * LONG}
    reader, spools = reader_of()
    reader.feed(json.dumps(value).encode())
    assert reader.value()["b"] == value["b"]
    assert len(spools) == 1


@pytest.mark.parametrize("text", ["", "  \n", "plain", "<html>{}</html>", "42", '"{}"', "null"])
def test_what_is_no_object_is_never_complete(text: str) -> None:
    reader, _ = reader_of()
    assert not reader.feed(text.encode())
    assert not reader.is_json
    assert reader.text() == text.lstrip()


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_garbage_never_raises_anything_but_value_error(data: bytes, cuts: list[int]) -> None:
    reader, _ = reader_of()
    feed(reader, b"{" + data, cuts)
    try:
        reader.value()
    except ValueError:
        assert isinstance(reader.text(), str)


def test_the_cap_holds_for_spaces_strings_and_plain_text() -> None:
    for start in (b" ", b'{"a":"', b"plain", b"[1,"):
        reader, _ = reader_of(cap=1000)
        more = b" " * 100 if start == b" " else b"1" * 100
        for piece in (start, *[more] * 9):
            assert not reader.feed(piece)
        with pytest.raises(TooLarge):
            reader.feed(more)


def test_what_is_kept_of_plain_text_is_bounded() -> None:
    reader, _ = reader_of(cap=1 << 30)
    for _ in range(64):
        reader.feed(b"x" * (1 << 20))
    assert len(reader.text()) == 2000


ESCAPES = {"/": r"\/", "+": r"\u002b", "=": r"\u003D"}


def written(data: bytes, escaped: bool, line: int) -> bytes:
    text = base64.b64encode(data).decode()
    if line:
        text = r"\r\n".join(text[at : at + line] for at in range(0, len(text), line))
    if escaped:
        text = "".join(ESCAPES.get(letter, letter) if letter not in "rn\\" else letter for letter in text)
    return text.encode()


@given(st.binary(max_size=300), st.booleans(), st.sampled_from([0, 1, 7, 76]), st.booleans())
def test_spooled_base64_is_decoded_exactly(data: bytes, escaped: bool, line: int, as_url: bool) -> None:
    source, target = io.BytesIO(), io.BytesIO()
    source.write(b"data:image\\/png;base64," * as_url + written(data, escaped, line))
    decode_base64(source, target)
    assert target.getvalue() == data


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("escape", [rb"\/", rb"\u002f", rb"\n"])
def test_escapes_cut_by_the_end_of_a_piece(shift: int, escape: bytes) -> None:
    """Pieces are 1 MB; the escape stands across their border."""
    text = b"A" * ((1 << 20) - shift) + escape
    clean = text.replace(b"\\/", b"/").replace(b"\\u002f", b"/").replace(b"\\n", b"")
    pad = b"A" * (-len(clean) % 4)
    source, target = io.BytesIO(text + pad), io.BytesIO()
    decode_base64(source, target)
    assert target.getvalue() == base64.b64decode(clean + pad)


@pytest.mark.parametrize("text", [b"!!!!", b"AAAAA", b"AA==AAAA", b"AAA\\", b"A\\u00", b"data:,A", "üüüü".encode()])
def test_what_is_no_base64_is_told(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode_base64(io.BytesIO(text), io.BytesIO())
