"""Plain scalars by the core schema of YAML 1.2: what looks like text is text."""

from __future__ import annotations

import math
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.planning.reading.yaml_document import parse_yaml, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16:9", "16:9"),
        ("1:30:00", "1:30:00"),
        ("yes", "yes"),
        ("No", "No"),
        ("on", "on"),
        ("OFF", "OFF"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("nUll", "nUll"),
        ("12", 12),
        ("-12", -12),
        ("+12", 12),
        ("0o17", 15),
        ("017", 17),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        (".", "."),
        ("-", "-"),
        ("2024-01-31", "2024-01-31"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("0x", "0x"),
    ],
)
def test_values_of_plain_scalars(text: str, value: object) -> None:
    found = resolve(text)

    assert found == value
    assert isinstance(found, bool) == isinstance(value, bool)


def test_not_a_number() -> None:
    assert math.isnan(resolve(".nan"))


@given(st.integers())
def test_whole_numbers(number: int) -> None:
    assert resolve(str(number)) == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats(number: float) -> None:
    assert float(resolve(repr(number))) == number


CORE = re.compile(
    r"""~|null|Null|NULL|true|True|TRUE|false|False|FALSE|[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+
    |[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)""",
    re.VERBOSE,
)


@given(st.text("0123456789abcdefnulTRUEtrsyoNxX.:+-_~eE", min_size=1, max_size=9))
def test_all_else_is_text(text: str) -> None:
    if not CORE.fullmatch(text):
        assert resolve(text) == text


KEY = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1)
LINE_ENDS = "\x85\u2028\u2029\ufeff"
VALUE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"], exclude_characters=LINE_ENDS))


@given(st.dictionaries(KEY, VALUE))
def test_text_that_yaml_writes_is_read_back(values: dict[str, str]) -> None:
    text = yaml.safe_dump(values, allow_unicode=True, default_style='"')

    assert parse_yaml(text) == values
    assert parse_yaml(text, yaml.SafeLoader) == values


def test_lines_of_keys_and_entries() -> None:
    root = parse_yaml("a: 1\nb:\n  - x\n  -\n    - y\nc: {d: 1,\n  e: 2}\n")

    assert root.lines == {"a": 1, "b": 2, "c": 6}
    assert root["b"].lines == [3, 5]
    assert root["c"].lines == {"d": 6, "e": 7}


def test_numbers_remember_how_they_were_written() -> None:
    root = parse_yaml("a: 007\nb: 7\n")

    assert (root["a"], root["a"].written) == (7, "007")
    assert type(root["b"]) is int
