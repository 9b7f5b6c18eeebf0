"""Templates of file names: strict, sandboxed, bounded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.planning.templates import BadTemplate, Template

if TYPE_CHECKING:
    from tests.planning.helpers import Desk


def rendered(text: str, **values: object) -> str:
    return Template(text).render(values)


def test_what_a_template_may_use(desk: Desk) -> None:
    document = {
        "filename": '{{ model }}/{{ row["Product Name"]|replace(" ", "_") }}-{{ sku|upper }}-{{ seed }}-{{ id }}',
        "jobs": [{"id": "a", "prompt": "x", "seed": 5, "meta": {"sku": "k1", "Product Name": "Red Shoe"}}],
    }

    taken = desk.take("a.json", json.dumps(document))

    assert taken.lines == []
    assert taken.job.filename == "flux-2-pro/Red_Shoe-K1-5-a"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ sku }}", "the template 'sku' is undefined"),
        ("{{ prompt }}", "the template 'prompt' is undefined"),
        ("../{{ id }}", "the file name '../a' leaves the output folder or goes in circles"),
        ("{{ meta.path }}", "the file name '/etc/passwd' is an absolute path"),
        ("{{ meta.dots }}/x", "the file name '../x' leaves the output folder"),
    ],
)
def test_file_names_that_a_job_can_not_have(desk: Desk, template: str, message: str) -> None:
    job = {"id": "a", "prompt": "x", "meta": {"path": "/etc/passwd", "dots": ".."}}

    taken = desk.take("a.json", json.dumps({"filename": template, "jobs": [job]}))

    assert f"error: [a] filename: {message}" in taken.line
    assert taken.job.filename == "a"
    assert taken.job.defect is not None


def test_an_extension_is_warned_about(desk: Desk) -> None:
    taken = desk.take("a.yaml", "filename: '{{ id }}.png'\njobs: [{id: a, prompt: x}]")

    assert taken.line.startswith("a.yaml:1: warning: filename: ends in an extension, which is added by the bytes")


def test_what_is_rendered_is_not_rendered_again() -> None:
    assert rendered("{{ a }}", a="{{ b }}", b="secret") == "{{ b }}"


def test_blocks_and_comments_are_text() -> None:
    assert rendered("{#FF0000}-{% if x %}-{{ a }}-{#", a=1) == "{#FF0000}-{% if x %}-1-{#"


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 10**10 }}",
        "{{ 'x' * 1000000000 }}",
        "{{ a * 1000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ 2 ** 2 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x'|center(1000000000) }}",
        "{{ range(100) }}",
        "{{ lipsum() }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ a.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ [a, a]|join(a) }}",
        "{{ a" + "|replace('x', 'xxxxxxxxxx')" * 30 + " }}",
        "{{ a|map('upper')|list }}",
        "{{ 1 / 0 }}",
        "{{ 1 // 0 }}",
        "{{ 9223372036854775807 * 9223372036854775808 }}",
        "{{ true * 3 }}",
        "{{ a + 1 }}",
        "{{ a[5000] }}",
        "{{ " + "(" * 400 + "a" + ")" * 400 + " }}",
        "{{ " + "-" * 900 + "1 }}",
        "{{ a b }}",
        "{{",
        "{{ }}",
        "{{ a }}" * 200,
        "{{ a }}\n",
        "\x01[ for x in y ]\x01",
    ],
)
@pytest.mark.timeout(5)
def test_templates_that_are_refused(template: str) -> None:
    with pytest.raises(BadTemplate):
        rendered(template, a="x")


@given(st.text("{}%#|()[].'\"abc+-*/ \\", max_size=60))
def test_no_template_crashes(text: str) -> None:
    try:
        assert isinstance(rendered(text, a="x", b=3, c={"a": [1]}), str)
    except BadTemplate as problem:
        assert str(problem)  # noqa: PT017 - both outcomes are fine


@given(st.text())
def test_text_without_braces_is_itself(text: str) -> None:
    if "{{" not in text and not any(ord(char) < 32 or ord(char) == 127 for char in text):
        assert rendered(text) == text
