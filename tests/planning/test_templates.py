"""Templates of catalogues: whatever is written in them, and whatever a table holds, ends in text or in a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.planning.catalog.values import Values
from fluxbatch.planning.templates import BadTemplate, Condition, Prose


def row(*cells: object) -> Values:
    values = Values(["a", "b", "c"], {}, [])
    values.take(cells)
    return values


CODE = st.text("{}%#|()[].'\"abcrow+-*/~ ,:<>=\\\n", max_size=60)


@given(text=CODE)
def test_no_template_crashes(text: str) -> None:
    try:
        assert isinstance(Prose(text).render(row("x", 3.0, {"a": [None]})), str)
    except BadTemplate as problem:
        assert str(problem)  # noqa: PT017 - both outcomes are fine


@given(text=CODE)
def test_no_condition_crashes(text: str) -> None:
    try:
        assert Condition(text).holds(row("x", 3.0, {"a": [None]})) in {True, False}
    except BadTemplate as problem:
        assert str(problem)  # noqa: PT017 - as above


@given(text=st.text(st.characters(codec="utf-8")), cell=st.text(min_size=1).map(str.strip).filter(bool))
def test_text_around_a_value_stays_and_so_does_the_value(text: str, cell: str) -> None:
    plain = "".join(char for char in text if char.isprintable() or char in "\n\t").replace("{", "")

    assert Prose(plain + "{{ a }}" + plain).render(row(cell)) == plain + cell + plain


@pytest.mark.parametrize(
    ("text", "names", "headers"),
    [
        ("{{ a }} {{ b | upper }} {{ a }}", {"a", "b"}, set()),
        ("{{ row['Product Name'] }} {{ row.other }}", set(), {"Product Name", "other"}),
        ("{{ a | default(b) }} {{ row['x'] | d('') }}", {"b"}, set()),
        ("{{ 'x' if a is defined and b is not defined else c }}", {"c"}, set()),
        ("{{ a.b[c] | replace(名称, '') }}", {"a", "c", "名称"}, set()),
        ("{{ row[a] }} {# b #} {% c %} { d }", {"a"}, set()),
        ("{{ (a | default('')) | upper }}", set(), set()),
    ],
)
def test_what_a_template_can_not_do_without(text: str, names: set[str], headers: set[str]) -> None:
    uses = Prose(text).uses

    assert (set(uses.names), set(uses.headers)) == (names, headers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ a | int + 1 }} {{ a | float / 2 }}", "6 2.5"),
        ("{{ b }} {{ b | length }} {{ b[0] | capitalize }}", "xyz 3 X"),
        ("{{ b | replace('x', 7) | replace('z', '', 1) }}", "7y"),
        ("{{ a == '5' }} {{ a is defined }} {{ c | default('none') }}", "true true none"),
        ("#{{ a }}{#FF0000}\r\n", "#5{#FF0000}\n"),
    ],
)
def test_what_a_template_may_say(text: str, expected: str) -> None:
    assert Prose(text).render(row("5", "xyz", "")) == expected
