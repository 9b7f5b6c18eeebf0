"""YAML, JSON and TOML documents: what they mean, and what is said about wrong ones, with file and line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from fluxbatch.model.job import Photo, RemoteImage

if TYPE_CHECKING:
    from tests.planning.helpers import Desk

EXAMPLE = """\
version: 1
out: ./out
defaults: {model: flux-2-max, output_format: png, safety_tolerance: 2}
jobs:
  - id: petting
    prompt: The person from image 1 is petting the cat from image 2, the bird from image 3 is next to them
    images: [person.jpg, cat.jpg, "https://example.com/bird.jpg"]
    aspect_ratio: 16:9
    seed: 42
    meta: {shelf: 12}
"""


def test_the_example_of_the_design(desk: Desk) -> None:
    desk.photo("person.jpg")
    desk.photo("cat.jpg", "grass.jpg")

    taken = desk.take("jobs.yaml", EXAMPLE)

    assert taken.lines == []
    assert taken.outs == [
        (str(desk.folder / "jobs.yaml"), desk.folder / "out", desk.folder / "jobs-out"),
    ]
    job = taken.job
    assert job.id == job.filename == "petting"
    assert job.manifest == str(desk.folder / "jobs.yaml")
    assert job.model == "flux-2-max"
    assert job.price == 0.07
    assert job.meta == {"shelf": 12}
    assert job.fields == {
        "model": "flux-2-max",
        "output_format": "png",
        "safety_tolerance": 2,
        "prompt": "The person from image 1 is petting the cat from image 2, the bird from image 3 is next to them",
        "aspect_ratio": "16:9",
        "seed": 42,
        "prompt_upsampling": False,
    }
    person, cat, bird = job.images
    assert isinstance(person, Photo)
    assert isinstance(cat, Photo)
    assert (person.ref, person.path, person.mime) == ("person.jpg", str(desk.folder / "person.jpg"), "image/jpeg")
    assert (person.width, person.height, person.size) == (512, 512, 61368)
    assert bird == RemoteImage("https://example.com/bird.jpg")


def test_json_and_toml_say_the_same_as_yaml(desk: Desk) -> None:
    as_json = {"version": 1, "defaults": {"seed": 7}, "jobs": [{"id": "a", "prompt": "x", "aspect_ratio": "4:3"}]}
    as_toml = 'version = 1\n[defaults]\nseed = 7\n[[jobs]]\nid = "a"\nprompt = "x"\naspect_ratio = "4:3"\n'
    as_yaml = "defaults: {seed: 7}\njobs: [{id: a, prompt: x, aspect_ratio: 4:3}]\n"

    taken = [
        desk.take("a.json", json.dumps(as_json)),
        desk.take("a.toml", as_toml),
        desk.take("a.yml", "\ufeff" + as_yaml),
    ]

    assert [each.lines for each in taken] == [[], [], []]
    assert len({each.job.fingerprint for each in taken}) == 1
    assert len({tuple(sorted(each.job.fields.items())) for each in taken}) == 1


def test_a_prompt_of_its_own_takes_the_place_of_the_prompt_in_common(desk: Desk) -> None:
    desk.write("p.txt", "from a file")
    for common in ("prompt: same", "prompt_file: p.txt"):
        jobs = "[{id: a}, {id: b, prompt: own}, {id: c, prompt_file: p.txt}]"

        taken = desk.take("jobs.yaml", f"defaults: {{{common}}}\njobs: {jobs}\n")

        assert taken.lines == []
        first = "same" if common == "prompt: same" else "from a file"
        assert [job.fields["prompt"] for job in taken.jobs] == [first, "own", "from a file"]


def test_a_job_overrides_defaults_and_null_unsets_them(desk: Desk) -> None:
    desk.photo("a.jpg")
    desk.photo("logo.jpg", "grass.jpg")
    taken = desk.take(
        "jobs.yaml",
        """\
defaults: {prompt: same, aspect_ratio: 1:1, images: [logo.jpg], meta: {season: 1, shop: x}, extra: {new: 1}}
jobs:
  - {id: plain}
  - {id: own, prompt: other, aspect_ratio: null, width: 512, height: 512, input_image: a.jpg, meta: {season: 2}}
""",
    )

    assert taken.lines == []
    plain, own = taken.jobs
    assert (plain.fields["prompt"], plain.fields["aspect_ratio"], plain.images[0].ref) == ("same", "1:1", "logo.jpg")
    assert plain.fields["new"] == own.fields["new"] == 1
    assert own.fields["prompt"] == "other"
    assert "aspect_ratio" not in own.fields
    assert [image.ref for image in own.images] == ["a.jpg"]
    assert own.meta == {"season": 2, "shop": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "version: 2\njobs: [{prompt: x}]",
            (
                "jobs.yaml:1: error: version: 2 is not a version of the manifest that this fluxbatch knows "
                "(write version: 1)"
            ),
        ),
        (
            "jobs:\n  - prompt: x\ndefault: {seed: 1}",
            "jobs.yaml:3: error: default: 'default' is not a key of a manifest (did you mean 'defaults'?)",
        ),
        (
            "model: flux-2-pro\njobs: [{prompt: x}]",
            "jobs.yaml:1: error: model: 'model' belongs to a job (write it below 'defaults:' or in a job: model)",
        ),
        (
            "jobs: [{prompt: x}]\ncatalog: {rows: a.csv}",
            "jobs.yaml:2: error: catalog.rows: a.csv: there is no such file (check the path)",
        ),
        ("jobs: []", "jobs.yaml:1: error: jobs: the list of jobs is empty (write at least one job)"),
        (
            "version: 1",
            "jobs.yaml: error: jobs: there is no list of jobs (write the jobs below 'jobs:', each with '- ')",
        ),
        (
            "- prompt: x",
            "jobs.yaml:1: error: is not a mapping with the key 'jobs' (write the jobs below 'jobs:')",
        ),
        (
            "prompt: x",
            "jobs.yaml:1: error: is one job, not a list of jobs (write it below 'jobs:', as a list with one entry)",
        ),
        (
            "jobs:\n  - just text",
            "jobs.yaml:2: error: a job is a mapping of fields to values (write at least 'prompt: …')",
        ),
        (
            "out: [a]\njobs: [{prompt: x}]",
            "jobs.yaml:1: error: out: is empty or not text (write a folder, relative to the manifest)",
        ),
        (
            "out: s3://bucket/x\njobs: [{prompt: x}]",
            "jobs.yaml:1: error: out: is an address, not a folder (write a folder here, or give the address with -o)",
        ),
        (
            "defaults: {id: a}\njobs: [{prompt: x}]",
            "jobs.yaml:1: error: defaults.id: an id can't be a default (each job has an id of its own)",
        ),
        (
            "defaults:\n  seed: lots\njobs: [{prompt: x}, {prompt: y}]",
            "jobs.yaml:2: error: defaults.seed: 'lots' is not a whole number",
        ),
        (
            "filename: '{{ id'\njobs: [{prompt: x}]",
            (
                "jobs.yaml:1: error: filename: is not a valid template: unexpected end of template, expected "
                "'end of print statement'. (write a template as \"{{ id }}\")"
            ),
        ),
    ],
)
def test_what_is_wrong_with_a_document(desk: Desk, text: str, expected: str) -> None:
    taken = desk.take("jobs.yaml", text)

    assert taken.line == expected
    assert taken.errors == 1


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("jobs:\n  - prompt: x\n    prompt: y", "3", "the key 'prompt' stands here a second time, first on line 2"),
        ("jobs:\n  - <<: {a: 1}", "2", "the merge key '<<' is not supported (use 'defaults'"),
        ("jobs:\n\t- prompt: x", "2", "a tab stands where YAML wants spaces (indent with spaces)"),
        ("jobs:\n  - prompt: a: b", "2", "is not valid YAML: mapping values are not allowed"),
        ("jobs:\n  - prompt: [", "3", "is not valid YAML"),
        ("jobs: [{prompt: x}]\n---\njobs: []", "2", "a second document begins ('---') (one manifest a file)"),
        ("jobs:\n  - prompt: !!python/object:os.system x", "2", "the tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("jobs:\n  - *nobody", "2", "*nobody is not defined before"),
        ("jobs:\n  - &self [*self]", "2", "*self is not defined before"),
        ("jobs:\n  - prompt: {{ x }}", "2", "a mapping or list stands where a key is expected (text with { }"),
        ("jobs: " + "[" * 2000, "1", "more than 64 levels of nesting"),
    ],
)
@pytest.mark.parametrize("loader", ["C", "Python"])
def test_yaml_that_can_not_be_read(desk: Desk, text: str, where: str, message: str, loader: str) -> None:
    if loader == "C":
        line = desk.take("jobs.yaml", text + "\n").line
        assert line.startswith(f"jobs.yaml:{where}: error: {message}")
        return
    import yaml

    from fluxbatch.planning.flaw import Unreadable
    from fluxbatch.planning.reading.yaml_document import parse_yaml

    with pytest.raises(Unreadable) as raised:
        parse_yaml(text + "\n", yaml.SafeLoader)
    assert str(raised.value.line) == where
    assert raised.value.message.startswith(message.partition(" (")[0])


@pytest.mark.parametrize("text", ["jobs: [{prompt: x}", "jobs: [{prompt: x", "jobs: [", "{", "jobs: {a: [\n]"])
def test_yaml_that_ends_too_early(desk: Desk, text: str) -> None:
    last = text.count("\n") + 1

    assert desk.take("jobs.yaml", text).line.startswith(
        f"jobs.yaml:{last}: error: is not valid YAML: did not find expec"
    )
    assert desk.take("jobs.yaml", text + "\n").line.startswith(f"jobs.yaml:{last + 1}: error: is not valid YAML: did ")


def test_a_billion_laughs_are_refused(desk: Desk) -> None:
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 12)]

    taken = desk.take("jobs.yaml", "\n".join([*lines, "jobs: [{prompt: x}]"]))

    assert "aliases like" in taken.line
    assert "repeat too much text (use 'defaults', or JSONL)" in taken.line


def test_aliases_are_fine_within_reason(desk: Desk) -> None:
    taken = desk.take("jobs.yaml", "jobs:\n  - &one {id: a, prompt: &p hello, seed: 1}\n  - {id: b, prompt: *p}\n")

    assert taken.lines == []
    assert [job.fields["prompt"] for job in taken.jobs] == ["hello", "hello"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"jobs": [\n  {"prompt": "x",\n   "prompt": "y"}]}', "3: error: is not valid JSON: the key 'prompt' stands"),
        ('{"jobs": [\n  {"prompt": "x",}\n]}', "2: error: is not valid JSON: a comma stands before the end of a list"),
        ("{'jobs': []}", "1: error: is not valid JSON: a key in double quotes is expected (JSON wants double quotes)"),
        ('{"jobs": [] // none\n}', "1: error: is not valid JSON: ',' or '}' is expected (JSON has no comments)"),
        ('{"jobs": [', "1: error: is not valid JSON: a value is expected (the file ends too early)"),
        ('{"jobs": ["\n"]}', "1: error: is not valid JSON: Invalid control character at"),
        ('{"jobs": []}\nx', "2: error: is not valid JSON: 'x' stands behind the end of the document"),
        ("[" * 5000, "1: error: is not valid JSON: more than 64 levels of nesting"),
        ('{"jobs": [NaN]}', "1: error: is not valid JSON: a value is expected"),
    ],
)
def test_json_that_can_not_be_read(desk: Desk, text: str, expected: str) -> None:
    assert desk.take("jobs.json", text).line.startswith(f"jobs.json:{expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version = 1\n[[jobs]]\nprompt = x\n", "jobs.toml:3: error: is not valid TOML: Invalid value (text goes"),
        ("[[jobs]]\nprompt = 'x'\nprompt = 'y'\n", "jobs.toml:3: error: is not valid TOML: Cannot overwrite a value"),
        ("[[jobs]]\nprompt = 'x'\nseed = 2024-01-01\n", "jobs.toml:3: error: [x-"),
        (
            "[[jobs]]\nprompt = 'x'\n\n[[jobs]]\nprompt = '''\nlong [[jobs]]\n'''\n[jobs.extra]\nseed = 1\n",
            "jobs.toml:9: error: [long-jobs-",
        ),
    ],
)
def test_toml_that_is_wrong(desk: Desk, text: str, expected: str) -> None:
    assert desk.take("jobs.toml", text).line.startswith(expected)


SECRET = "sk-0123456789abcdef"


@pytest.mark.parametrize("key", ["api_key", "base_url", "proxy", "prices", "command", "apiKey", "Authorization"])
@pytest.mark.parametrize("place", ["{key}: {value}\njobs: [{{prompt: x}}]", "defaults: {{{key}: {value}}}\njobs: []"])
def test_a_manifest_sets_no_key_address_proxy_price_or_command(desk: Desk, key: str, place: str) -> None:
    taken = desk.take("jobs.yaml", place.format(key=key, value=SECRET))

    assert f"{key}: a manifest can't set this, it may come from someone else (leave it out here; " in taken.lines[0]
    assert SECRET not in "".join(taken.lines)
    assert taken.fatal


def test_the_remedy_for_a_price_is_the_option(desk: Desk) -> None:
    line = desk.take("jobs.yaml", "jobs: [{id: a, prompt: x, price: 0.01}]").line

    assert line.endswith("(leave it out here; give --price MODEL=USD)")


def test_secrets_are_not_printed_from_jobs_and_extras_either(desk: Desk) -> None:
    taken = desk.take_jobs({"prompt": "x", "api_key": SECRET}, {"prompt": "y", "extra": {"base_url": SECRET}})

    assert taken.errors == 2
    assert SECRET not in "".join(taken.lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty (write at least one job)"),
        (b"\xef\xbb\xbf \n", "the file is empty (write at least one job)"),
        (b"# nothing\n", "the file is empty (write at least one job)"),
        ("jobs: []".encode("utf-16"), "is UTF-16 text (save it as UTF-8)"),
    ],
)
def test_files_without_text(desk: Desk, content: bytes, message: str) -> None:
    assert desk.take("jobs.yaml", content).line == f"jobs.yaml: error: {message}"


def test_the_line_of_a_byte_that_is_no_utf8(desk: Desk) -> None:
    line = desk.take("jobs.yaml", b"jobs:\n  - prompt: caf\xe9\n").line

    assert line == "jobs.yaml:2: error: is not UTF-8 text: byte 0xe9 (save the file as UTF-8)"


def test_all_errors_come_at_once_in_order_with_their_lines(desk: Desk) -> None:
    desk.photo("person.jpg")

    taken = desk.take(
        "jobs.yaml",
        """\
defaults:
  model: flux-2-por
jobs:
  - id: a
    prompt: x
    promt: y
    seed: -1
  - id: b
    prompt: x
    images:
      - person.jpg
      - persom.jpg
  - id: c
    width: 100
    height: yes
    prompt: [x]
""",
    )

    assert taken.lines == [
        (
            "jobs.yaml:2: error: [a] model: 'flux-2-por' is not a known model, and the same in 2 more jobs "
            "(did you mean 'flux-2-pro'?)"
        ),
        "jobs.yaml:6: error: [a] promt: 'promt' is not a field of a job (did you mean 'prompt'?)",
        "jobs.yaml:7: error: [a] seed: -1 is out of range (0 to 4294967295)",
        "jobs.yaml:12: error: [b] images[2]: persom.jpg: there is no such file (did you mean 'person.jpg'?)",
        "jobs.yaml:14: error: [c] width: 100 is not a multiple of 16 (write 96)",
        "jobs.yaml:15: error: [c] height: 'yes' is not a whole number",
        "jobs.yaml:16: error: [c] prompt: a list is not text",
    ]
    assert taken.errors == 7
    assert [job.defect is not None for job in taken.jobs] == [True, True, True]
