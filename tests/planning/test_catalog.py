"""Catalogues: what a table times a matrix means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluxbatch.model.job import Photo
from fluxbatch.planning.intake import ManifestFile
from tests.planning.helpers import take

if TYPE_CHECKING:
    from fluxbatch.model.job import PlannedJob
    from tests.planning.helpers import Desk, Taken

EXAMPLE = """\
defaults: {model: flux-2-max, meta: {shop: north}, images: [logo.jpg]}
catalog:
  rows: products.csv
  columns: {photo: "主图 URL"}
  matrix: {scene: [beach, studio], angle: [front]}
  where: "stock | int > 0 and not (sku == 'A-2' and scene == 'beach')"
  id: "{{ sku }}-{{ scene }}"
  prompt: "Place the {{ 名称 }} from image 1 into the {{ scene }} of image 2, {{ angle }}"
  images: ["{{ photo }}", "scenes/{{ scene }}.jpg", {optional: "{{ photo2 }}"}]
  seed: 5
  meta: {sku: "{{ sku }}", size: '{{ row["Size (cm)"] }}'}
jobs:
  - {id: plain, prompt: x}
"""
PRODUCTS = """\
sku , 名称,主图 URL,photo2,stock,Size (cm),,
A-1, Mug ,mug.jpg,,3,12,,
,,,,,,,
A-2,Cup,cup.jpg,mug.jpg,1,9,,
A-3,Pot,mug.jpg,,0,30,,
,,,,,,,
"""


def write_shop(desk: Desk) -> None:
    for name in ("mug.jpg", "cup.jpg", "logo.jpg"):
        desk.photo(name)
    desk.photo("scenes/beach.jpg", "grass.jpg")
    desk.photo("scenes/studio.jpg", "grass.jpg")


def refs(job: PlannedJob) -> list[str]:
    return [image.ref for image in job.images if isinstance(image, Photo)]


def test_a_table_times_a_matrix(desk: Desk) -> None:
    write_shop(desk)
    desk.write("products.csv", PRODUCTS)

    taken = desk.take("jobs.yaml", EXAMPLE)

    assert taken.lines == []
    assert [job.id for job in taken.jobs] == ["A-1-beach", "A-1-studio", "A-2-studio", "plain"]
    mug, _, cup, plain = taken.jobs
    assert mug.fields["prompt"] == "Place the Mug from image 1 into the beach of image 2, front"
    assert (mug.model, mug.fields["seed"]) == ("flux-2-max", 5)
    assert mug.meta == {"shop": "north", "sku": "A-1", "size": "12"}
    assert refs(mug) == ["mug.jpg", "scenes/beach.jpg"]
    assert refs(cup) == ["cup.jpg", "scenes/studio.jpg", "mug.jpg"]
    assert refs(plain) == ["logo.jpg"]


def test_json_and_toml_say_the_same(desk: Desk) -> None:
    desk.write("a.csv", "sku\nx\ny\n")
    as_toml = '[catalog]\nrows = "a.csv"\nid = "{{ sku }}-{{ n }}"\nprompt = "p {{ n }}"\nmatrix.n = [1, 2]\n'
    as_json = {"catalog": {"rows": "a.csv", "id": "{{ sku }}-{{ n }}", "prompt": "p {{ n }}", "matrix": {"n": [1, 2]}}}

    taken = [desk.take("a.toml", as_toml), desk.take("a.json", json.dumps(as_json))]

    assert [each.lines for each in taken] == [[], []]
    assert [[job.id for job in each.jobs] for each in taken] == [["x-1", "x-2", "y-1", "y-2"]] * 2
    assert [job.fingerprint for job in taken[0].jobs] == [job.fingerprint for job in taken[1].jobs]


def test_a_list_of_catalogues_in_the_order_of_the_document(desk: Desk) -> None:
    document = """\
catalog:
  - {rows: [{sku: a}, {sku: 007}], id: "{{ sku }}", prompt: x}
  - {matrix: {n: [one, two]}, id: "{{ n }}", prompt: x}
jobs: [{id: last, prompt: x}]
"""

    taken = desk.take("a.yaml", document)

    assert taken.lines == []
    assert [job.id for job in taken.jobs] == ["a", "007", "one", "two", "last"]


def test_a_matrix_of_mappings_and_numbers(desk: Desk) -> None:
    document = """\
catalog:
  matrix:
    scene: [{name: beach, items: sand, light: 0.50}, {name: studio, items: wood, light: 2.0}]
    flag: [true]
    size: [512, 1024]
  where: "scene.light < 1 or size > 600"
  id: "{{ scene.name }}-{{ size }}"
  prompt: "{{ scene.items }} {{ scene.light }} {{ flag }} {{ size / 2 }}"
  width: "{{ size }}"
  height: "{{ size }}"
"""

    taken = desk.take("a.yaml", document)

    assert taken.lines == []
    assert [(job.id, job.fields["prompt"], job.fields["width"]) for job in taken.jobs] == [
        ("beach-512", "sand 0.5 true 256", 512),
        ("beach-1024", "sand 0.5 true 512", 1024),
        ("studio-1024", "wood 2 true 512", 1024),
    ]


def test_a_job_may_take_the_image_of_another_one(desk: Desk) -> None:
    document = """\
catalog:
  - {rows: &rows [{sku: a}, {sku: b}], id: "{{ sku }}-base", prompt: x}
  - {rows: *rows, id: "{{ sku }}-oil", prompt: x, images: [{job: "{{ sku }}-base"}]}
"""

    taken = desk.take("a.yaml", document)

    assert taken.lines == []
    assert {job.id: job.needs for job in taken.jobs} == {
        "a-base": (),
        "b-base": (),
        "a-oil": ("a-base",),
        "b-oil": ("b-base",),
    }


def test_strings_are_templates_wherever_they_stand(desk: Desk) -> None:
    document = """\
catalog:
  rows: [{sku: a, n: 2, word: oil}]
  id: "{{ sku }}"
  variants: "{{ n }}"
  chain:
    - "{{ word }} one"
    - {prompt: "{{ word }} two", images: [{optional: "{{ photo | default('') }}"}, "{{ sku }}.jpg"]}
  images: "{{ sku }}.jpg"
  meta: {deep: {list: ["{{ word }}", 1, {x: "{{ word }}!"}]}}
  extra: {new: "{{ word }}"}
"""
    desk.photo("a.jpg")

    taken = desk.take("a.yaml", document)

    assert taken.lines == []
    last = taken.jobs[-1]
    assert last.fields["prompt"] == "oil two"
    assert last.meta == {"deep": {"list": ["oil", 1, {"x": "oil!"}]}}
    assert last.fields["new"] == "oil"
    assert refs(last) == ["a.jpg"]


def test_a_cell_is_data_and_never_a_template(desk: Desk) -> None:
    desk.write("a.csv", 'sku,name\nx,"{{ sku }} {{ row }} {% raw %} {#FF0000}"\n')

    job = desk.take(
        "a.yaml", "catalog: {rows: a.csv, id: '{{ sku }}', prompt: 'A {{ name }}', meta: {n: '{{name}}'}}"
    ).job

    assert job.fields["prompt"] == "A {{ sku }} {{ row }} {% raw %} {#FF0000}"
    assert job.meta == {"n": "{{ sku }} {{ row }} {% raw %} {#FF0000}"}


CELL = st.text(st.sampled_from("{}%#ab |\"'.()_\\\n;,x"), max_size=12).map(str.strip).filter(bool)


@given(one=CELL, two=CELL)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_cell_is_ever_rendered(desk: Desk, one: str, two: str) -> None:
    rows = [{"id": "j", "a": one, "b": two}]
    catalog = {"rows": rows, "id": "j", "prompt": "<{{ a }}|{{ b }}>", "meta": {"m": "{{ a }}"}}

    taken = desk.take("a.json", json.dumps({"catalog": catalog}))

    assert taken.lines == []
    assert taken.job.fields["prompt"] == f"<{one}|{two}>"
    assert taken.job.meta == {"m": one}


def test_prompts_have_line_breaks_and_may_be_long(desk: Desk) -> None:
    words = "many words " * 9000
    desk.write("a.csv", f'sku,text\nx,"{words}"\n')

    job = desk.take(
        "a.yaml", "catalog:\n  rows: a.csv\n  id: x\n  prompt: |\n    First\n    {{ text }}\n    last\n"
    ).job

    assert job.fields["prompt"] == f"First\n{words.strip()}\nlast\n"


def test_a_prompt_file_is_a_template_too(desk: Desk) -> None:
    (desk.folder / "prompts").mkdir()
    desk.write("prompts/mug.txt", "A {{ name }}\nin {{ scene }}\n")
    desk.write("prompts/cup.txt", "Just a cup\n")
    desk.write("a.csv", "sku,kind,name\na,mug,{{ big }} mug\nb,cup,\n")
    document = """\
defaults: {prompt: never}
catalog:
  rows: a.csv
  matrix: {scene: [snow]}
  id: "{{ sku }}"
  prompt_file: "prompts/{{ kind }}.txt"
"""

    taken = desk.take("a.yaml", document)

    assert taken.lines == []
    assert [job.fields["prompt"] for job in taken.jobs] == ["A {{ big }} mug\nin snow", "Just a cup"]


def test_a_field_that_comes_out_empty_is_absent(desk: Desk) -> None:
    desk.write("a.csv", "sku,seed\na,7\n ,  ,   ,\nb,\n")
    document = "catalog: {rows: a.csv, id: '{{ sku }}', prompt: x, seed: '{{ seed | default(\"\") }}'}"

    taken = desk.take("a.yaml", document)

    assert taken.lines == []
    one, two = taken.jobs
    assert one.fields["seed"] == 7
    assert two.fields["seed"] != 7


def test_one_text_of_images_is_split_as_a_cell_is(desk: Desk) -> None:
    desk.photo("a.jpg")
    desk.photo("b.jpg")
    desk.write("a.csv", "sku,photos\nx,a.jpg | b.jpg\n")

    assert refs(desk.take("a.yaml", "catalog: {rows: a.csv, id: x, prompt: x, images: '{{ photos }}'}").job) == [
        "a.jpg",
        "b.jpg",
    ]


def test_optional_images_by_the_names_of_the_api(desk: Desk) -> None:
    desk.photo("a.jpg")
    desk.photo("b.jpg")
    desk.write("a.csv", "sku,second\nx,b.jpg\ny,\n")
    document = """\
catalog:
  rows: a.csv
  id: "{{ sku }}"
  prompt: x
  input_image: a.jpg
  input_image_2: {optional: "{{ second }}"}
"""

    assert [refs(job) for job in desk.take("a.yaml", document).jobs] == [["a.jpg", "b.jpg"], ["a.jpg"]]


def test_a_folder_of_photos_is_a_table(desk: Desk) -> None:
    for name in ("shoes/10.jpg", "shoes/2.jpg", "shoes/below/3.jpg"):
        desk.photo(name)
    document = "catalog: {rows: shoes, id: '{{ folder }}-{{ name }}', prompt: 'x {{ name }}', images: ['{{ photo }}']}"

    taken = desk.take("a.yaml", document)

    assert taken.lines == []
    assert [(job.id, refs(job)) for job in taken.jobs] == [
        ("shoes-2", ["shoes/2.jpg"]),
        ("shoes-10", ["shoes/10.jpg"]),
    ]


def test_paths_are_relative_to_the_manifest_wherever_the_table_is(desk: Desk) -> None:
    desk.photo("p/a.jpg")
    (desk.folder / "tables").mkdir()
    desk.write("tables/a.csv", "sku,photo\nx,p/a.jpg\n")

    taken = desk.take("a.yaml", "catalog: {rows: tables/a.csv, id: x, prompt: x, images: ['{{ photo }}']}")

    assert taken.lines == []


# ------------------------------------------------------------------------------------------------------------ where
WORDS = st.sampled_from(["a", "b", "A", "1", "01", "true", "", "x y", "'", '"'])


def ids(desk: Desk, rows: list[dict[str, str]], where: Any) -> tuple[list[str], Taken]:
    catalog = {"rows": rows, "matrix": {"m": ["a", "1"]}, "where": where, "id": "{{ n }}-{{ m }}", "prompt": "x"}
    taken = desk.take("a.json", json.dumps({"catalog": catalog}))
    return [job.id for job in taken.jobs], taken


@given(
    rows=st.lists(st.fixed_dictionaries({"color": WORDS, "shop": WORDS}), min_size=1, max_size=5),
    wanted=st.dictionaries(st.sampled_from(["color", "shop", "m"]), WORDS | st.lists(WORDS, max_size=3), min_size=1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mapping_says_the_same_as_an_expression(
    desk: Desk, rows: list[dict[str, str]], wanted: dict[str, str | list[str]]
) -> None:
    def text(value: str) -> str:
        return "'" + value.replace("'", "\\'") + "'"

    def test(column: str, values: str | list[str]) -> str:
        listed = [values] if isinstance(values, str) else values
        return f"{column} in [{', '.join(map(text, listed))}]"

    numbered = [{"n": str(number), **row} for number, row in enumerate(rows)]
    expression = " and ".join(test(column, values) for column, values in wanted.items())
    expected = [
        f"{row['n']}-{m}"
        for row in numbered
        for m in ("a", "1")
        if all(
            {**row, "m": m}[column] in ([values] if isinstance(values, str) else values)
            for column, values in wanted.items()
        )
    ]

    by_mapping, taken = ids(desk, numbered, wanted)
    by_expression, _ = ids(desk, numbered, expression)

    assert by_mapping == by_expression == expected
    assert taken.errors == 0
    assert taken.warnings == (not expected)


def test_values_of_where_are_compared_as_text(desk: Desk) -> None:
    rows = "sku,stock,active,Product Name\na,5,TRUE,x\nb,05,TRUE,x\nc,5,FALSE,x\nd,5,TRUE,y\n"
    desk.write("a.csv", rows)
    where = '{stock: [5, 6], active: true, "Product Name": x}'

    taken = desk.take("a.yaml", f"catalog: {{rows: a.csv, where: {where}, id: '{{{{ sku }}}}', prompt: x}}")

    assert taken.lines == []
    assert [job.id for job in taken.jobs] == ["a"]


def test_an_empty_cell_is_empty_text_in_where_alone(desk: Desk) -> None:
    desk.write("a.csv", "sku,photo\na,x.jpg\nb,\n")
    document = "catalog: {rows: a.csv, where: \"photo == ''\", id: '{{ sku }}', prompt: 'x {{ photo }}'}"

    taken = desk.take("a.yaml", document)

    assert taken.line == (
        "a.csv:3: error: prompt: the column 'photo' is empty (fill it in, or write {{ photo | default(\"…\") }})"
    )


def test_rows_are_streamed(desk: Desk) -> None:
    """The first job is there before the last row is read: it is broken, and that is noticed last."""
    rows = "\n".join(f"{number}" for number in range(20_000))
    desk.write("a.csv", f'sku\n{rows}\n"never closed\n')
    source = desk.write("a.yaml", "catalog: {rows: a.csv, id: 'j{{ sku }}', prompt: x}")

    drafts = iter(source.open().drafts)

    assert getattr(next(drafts), "values", {})["id"] == "j0"
    assert take(ManifestFile(source.path)).total == 20_001
