"""What is said about wrong catalogues: at the manifest once, or at the row of the table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.planning.helpers import Desk


def catalog(**keys: object) -> str:
    return json.dumps({"catalog": {"rows": "a.csv", "id": "{{ sku }}", "prompt": "x", **keys}}, indent=0)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"whre": "1"},
            "catalog.whre: 'whre' is neither a key of a catalogue nor a field of a job (did you",
        ),
        (
            {"promt": "1"},
            "catalog.promt: 'promt' is neither a key of a catalogue nor a field of a job (did you",
        ),
        ({"api_key": "sk-123"}, "catalog.api_key: a manifest can't set this"),
        ({"rows": "b.csv"}, "catalog.rows: b.csv: there is no such file (did you mean 'a.csv'?)"),
        ({"rows": "a.txt"}, "catalog.rows: a.txt: '.txt' is no kind of table (tables are .csv .tsv .xlsx .parquet"),
        ({"rows": 3}, "catalog.rows: is neither the name of a table or folder nor a list of rows"),
        ({"rows": [1]}, "catalog.rows: 1 is not a mapping of columns to values"),
        ({"rows": None}, "catalog.rows: there are no rows (write rows: products.csv)"),
        ({"rows": "empty.csv"}, "catalog.rows: empty.csv: the file is empty"),
        ({"rows": "header.csv"}, "catalog.rows: has no rows"),
        ({"sheet": "x"}, "catalog.rows: a.csv: 'sheet' is for .xlsx (leave it out)"),
        ({"encoding": "klingon"}, "catalog.encoding: 'klingon' is not an encoding"),
        ({"encoding": "hex"}, "catalog.encoding: 'hex' is not an encoding"),
        (
            {"columns": {"photo": "Main Foto"}},
            "catalog.columns.photo: the table has no column 'Main Foto' (did you",
        ),
        ({"columns": {"name": "sku"}}, "catalog.columns.name: the table has a column 'name' too"),
        ({"columns": {"a-b": "sku"}}, "catalog.columns.a-b: templates can't name it so"),
        ({"columns": {"row": "sku"}}, "catalog.columns.row: templates can't name it so"),
        ({"columns": {"two": "Twice"}}, "catalog.rows: the column 'Twice' stands twice in the table (rename one)"),
        ({"prompt": "{{ Twice }}"}, "catalog.rows: the column 'Twice' stands twice in the table (rename one)"),
        ({"matrix": {"name": ["x"]}}, "catalog.matrix: 'name' is also a column of the table"),
        ({"matrix": {"scene": "x"}}, "catalog.matrix.scene: is not a list of values (write scene: [one, two])"),
        ({"matrix": {"scene": []}}, "catalog.matrix.scene: is not a list of values"),
        ({"matrix": {"scene": [[1]]}}, "catalog.matrix.scene: has an entry that is no value"),
        ({"matrix": {name: [1, 2, 3, 4, 5] for name in "abcdefgh"}}, "catalog.matrix: makes 390,625 jobs of each row"),
        ({"columns": 5}, "catalog.columns: is not a mapping of new names to headers"),
        ({"columns": {"scene": "sku"}, "matrix": {"scene": ["x"]}}, "catalog.matrix: 'scene' is also a column"),
        ({"matrix": ["x"]}, "catalog.matrix: is not a mapping of names to lists"),
        ({"where": "{{ stock }}"}, "catalog.where: has braces"),
        ({"where": "a) or (b"}, "catalog.where: is not a valid template: "),
        ({"where": "stock >"}, "catalog.where: is not a valid template: "),
        ({"where": {"name": {"a": 1}}}, "catalog.where: has a mapping for 'name'"),
        ({"where": 3}, "catalog.where: is neither an expression nor a mapping"),
        ({"where": "name == 'none such'"}, "catalog.where: leaves no row"),
        ({"where": {"nmae": "x"}}, "catalog: a.csv has no column 'nmae' (did you mean 'name'? it has 'sku', 'name'"),
        ({"prompt": "{{ name"}, "catalog.prompt: is not a valid template: "),
        ({"prompt": "{{ name | upper | lower('x') | nothing }}"}, "catalog.prompt: is not a valid template: No filter"),
        ({"meta": {"a": ["{{ }}"]}}, "catalog.meta.a[1]: is not a valid template: "),
        ({"images": [{"url": "x"}]}, "catalog.images[1]: is a mapping, but neither {job: …} nor {optional: …}"),
        ({"images": [{"optional": 3}]}, "catalog.images[1]: optional: 3 is not a path"),
        ({"seed": "many"}, "catalog.seed: 'many' is not a whole number"),
        ({"prompt_file": "a.csv"}, "catalog.prompt_file: both 'prompt' and 'prompt_file' are given (keep one of them)"),
        (
            {"prompt": None, "prompt_file": "a.cvs"},
            "catalog.prompt_file: a.cvs: there is no such file (did you",
        ),
        ({"prompt": None, "prompt_file": "bad.txt"}, "catalog.prompt_file: bad.txt: is not a valid template"),
        ({"prompt": None, "prompt_file": "name.txt"}, "catalog: a.csv has no column 'nmae' (did you mean 'name'? "),
        ({"prompt": None, "prompt_file": "latin.txt"}, "catalog.prompt_file: latin.txt: is not UTF-8 text: byte 0xe9"),
    ],
)
def test_what_is_wrong_with_a_catalogue_as_a_whole(desk: Desk, keys: dict[str, object], expected: str) -> None:
    desk.write("a.csv", "sku,name,Main photo,Twice,Twice\nx,Mug,,,\ny,Cup,,,\n")
    desk.write("a.txt", "sku\nx\n")
    desk.write("empty.csv", "")
    desk.write("header.csv", "sku,name\n")
    desk.write("bad.txt", "{{ name")
    desk.write("name.txt", "{{ nmae }} {{ name | default(nothing | default('')) }}")
    desk.write("latin.txt", b"caf\xe9")

    taken = desk.take("a.json", catalog(**keys))

    assert expected in taken.line
    assert taken.line.startswith("a.json:")
    assert "sk-123" not in taken.line


def test_the_line_is_that_of_the_key(desk: Desk) -> None:
    desk.write("a.csv", "sku\nx\n")

    taken = desk.take(
        "a.yaml",
        """\
catalog:
  - rows: a.csv
    id: "{{ sku }}"
    prompt: x
  - rows: a.csv
    wheer: x
    id: "{{ sku"
    prompt: |
      {{ name }} and {{ sku }} and
      {{ row["Product Name"] }} {{ row.other }}
    meta: {a: "{{ name }} {{ maybe | default('') }} {{ 'x' if perhaps is defined }}", seed: "{{ skus }}"}
""",
    )

    assert taken.lines == [
        (
            "a.yaml:6: error: catalog[2].wheer: 'wheer' is neither a key of a catalogue nor a field of a job "
            "(did you mean 'where'?)"
        ),
        (
            "a.yaml:7: error: catalog[2].id: is not a valid template: unexpected end of template, expected "
            "'end of print statement'. (write names as \"{{ name }}\")"
        ),
        (
            "a.yaml:8: error: catalog[2]: a.csv has no column 'name', 'Product Name', 'other', 'skus' "
            "(did you mean 'sku' by 'skus'? it has 'sku')"
        ),
    ]
    assert [job.id for job in taken.jobs] == ["x"]


def test_rows_are_told_by_the_line_of_their_table(desk: Desk) -> None:
    desk.photo("mug.jpg")
    desk.write(
        "a.csv",
        "sku,name,photo\n"
        'mug,"Big\nmug",mug.jpg\n\npot,Pot,mgu.jpg\npan,,\n,Lid,mug.jpg\na/../b,x,mug.jpg\nmug,x,mug.jpg\n',
    )
    document = """\
catalog:
  rows: a.csv
  matrix: {scene: [beach, snow]}
  where: "not (sku == 'mug' and scene == 'snow')"
  id: "{{ sku }}-{{ scene }}"
  prompt: "{{ name }}"
  images: ["{{ photo }}"]
"""

    taken = desk.take("a.yaml", document)

    assert taken.lines == [
        (
            "a.csv:5: error: [pot-beach] images[1]: mgu.jpg: there is no such file, and the same in 1 more job "
            "(did you mean 'mug.jpg'?)"
        ),
        (
            "a.csv:6: error: prompt: the column 'name' is empty; images[1]: the column 'photo' is empty, and the same "
            'in 1 more job (fill it in, or write {{ name | default("…") }})'
        ),
        (
            "a.csv:7: error: id: the column 'sku' is empty, and the same in 1 more job "
            '(fill it in, or write {{ sku | default("…") }})'
        ),
        (
            "a.csv:8: error: [a/../b-beach] id: the id 'a/../b-beach' leaves the output folder or goes in circles "
            "(use letters, digits, '-', '_' and '.')"
        ),
        (
            "a.csv:8: error: [a/../b-snow] id: the id 'a/../b-snow' leaves the output folder or goes in circles "
            "(use letters, digits, '-', '_' and '.')"
        ),
        "a.csv:9: error: [mug-beach] id: the id 'mug-beach' is taken by a.csv:2 (give each job an id of its own)",
    ]
    assert taken.fatal == 0


def test_the_remedy_for_an_image_is_to_make_it_optional(desk: Desk) -> None:
    desk.write("a.csv", "sku,photo\nx,\n")

    line = desk.take("a.json", catalog(images=["{{ photo }}"])).line

    assert line == (
        "a.csv:2: error: images[1]: the column 'photo' is empty "
        '(fill it in, or write {optional: "{{ photo }}"} for images that may be missing)'
    )


def test_an_optional_image_whose_column_is_nowhere_is_an_error(desk: Desk) -> None:
    desk.write("a.csv", "sku,photo2\nx,\n")

    line = desk.take("a.json", catalog(images=[{"optional": "{{ foto2 }}"}])).line

    assert "a.csv has no column 'foto2' (did you mean 'photo2'? " in line


def test_lines_of_json_have_no_header(desk: Desk) -> None:
    desk.write(
        "a.jsonl",
        '{"sku": "a", "name": "x", "n": 1.0}\n{"sku": "b", "nmae": "y"}\nbroken\n{"sku": "c", "name": null}\n',
    )

    taken = desk.take("a.json", catalog(rows="a.jsonl", prompt="{{ name }} {{ n | default('') }}"))

    assert taken.lines[0] == (
        "a.jsonl:2: error: prompt: the row has no 'name', did you mean 'nmae'? "
        '(fill it in, or write {{ name | default("…") }})'
    )
    assert taken.lines[1].startswith("a.jsonl:3: error: is not valid JSON: ")
    assert taken.lines[2].startswith("a.jsonl:4: error: prompt: the column 'name' is empty (fill it in")
    assert [job.fields["prompt"] for job in taken.jobs] == ["x 1"]
    assert (taken.total, taken.unusable) == (4, 3)


def test_a_table_that_breaks_off_does_not_hide_the_jobs_beside_it(desk: Desk) -> None:
    desk.write("a.csv", 'sku\nx\n"never closed\n')
    desk.write("b.csv", "sku\ny\n")
    document = """\
catalog:
  - {rows: a.csv, id: "{{ sku }}", prompt: x}
  - {rows: b.csv, id: "{{ sku }}", prompt: x}
jobs: [{id: z, prompt: x, seed: -1}]
"""

    taken = desk.take("a.yaml", document)

    assert [job.id for job in taken.jobs] == ["x", "y", "z"]
    assert taken.lines == [
        "a.yaml:2: error: catalog[1].rows: a.csv can't be read to its end (mend it at line 3)",
        'a.csv:3: error: a quote that opens here is never closed (close it, or write " as "")',
        "a.yaml:4: error: [z] seed: -1 is out of range (0 to 4294967295)",
    ]
    assert taken.fatal == 1


def test_a_row_with_too_many_cells(desk: Desk) -> None:
    desk.write("a.csv", "sku,name\nx,y,\nz,a,b\n")

    taken = desk.take("a.json", catalog())

    assert taken.line.startswith("a.csv:3: error: the row has 3 cells, the header 2")
    assert [job.id for job in taken.jobs] == ["x"]


def test_numbers_are_text_and_where_says_so(desk: Desk) -> None:
    desk.write("a.csv", "sku,stock,other\nx,1,\n")

    line = desk.take("a.json", catalog(where="stock > 0 and other != 5")).line

    assert line.startswith("a.csv:2: error: where: can't be worked out: '>' not supported between")
    assert line.endswith("(cells are text: write stock | int > 0)")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("{{ tags }}", "can't be worked out: a list can't stand in a text"),
        ("{{ row }}", "can't stand in a text"),
        ("{{ part.none }}", "can't be worked out: nothing can't stand in a text"),
        ("{{ part.other }}", "there is no 'other'"),
        ("{{ row['none' ~ 'such'] }}", "there is no 'nonesuch'"),
        ("{{ name * 1000000000 }}", "the operator * is for numbers"),
        ("{{ long | replace('x', long) }}", "the text grows beyond 131072 characters"),
        ("{{ long }}" * 5, "gives 150000 characters, the limit is 131072"),
        ("{{ long }}" * 100, "gives more than 131072 characters"),
        ("{{ row.__class__.__init__ }}", "the row has no '__class__'"),
        ("{{ ''.__class__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ name.upper() }}", "is not safely callable"),
    ],
)
@pytest.mark.timeout(10)
def test_values_that_can_not_be_rendered(desk: Desk, prompt: str, message: str) -> None:
    row = {"sku": "x", "name": "x", "tags": ["a"], "part": {"none": None}, "long": "x" * 30_000}
    desk.write("a.jsonl", json.dumps(row))

    line = desk.take("a.json", catalog(rows="a.jsonl", prompt=prompt)).lines[0]

    assert line.startswith("a.jsonl:1: error: prompt: ")
    assert message in line


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("{{ sku }}" * 3000, "has 3000 parts between {{ }}, the limit is 2000"),
        ("{{ sku }}" + "x" * (1 << 20), "characters long, the limit is 1048576"),
        ("{{ " + "(" * 4000 + "sku" + ")" * 4000 + " }}", "is too complicated"),
        ("{{ sku }}\x00", "has a control character"),
        ("{{ ｓｋｕ }} {{ sku }}", "has names that differ in the width of letters alone"),
    ],
)
@pytest.mark.timeout(20)
def test_templates_that_are_refused(desk: Desk, prompt: str, message: str) -> None:
    desk.write("a.csv", "sku,ｓｋｕ\nx,y\n")

    line = desk.take("a.json", catalog(prompt=prompt)).line

    assert line.startswith("a.json:")
    assert message in line


def test_prompt_files_by_row(desk: Desk) -> None:
    desk.write("good.txt", "A {{ sku }}")
    desk.write("bad.txt", "A {{ sku")
    desk.write("nmae.txt", "A {{ suk }}")
    desk.write("a.csv", "sku,file\na,good\nb,bad\nc,nmae\nd,god\ne,\nf,good\n")

    taken = desk.take("a.json", catalog(prompt=None, prompt_file="{{ file }}.txt"))

    assert [job.fields["prompt"] for job in taken.jobs] == ["A a", "A f"]
    assert [line.partition(" (")[0] for line in taken.lines] == [
        (
            "a.csv:3: error: prompt_file: bad.txt: is not a valid template: unexpected end of template, expected "
            "'end of print statement'."
        ),
        "a.csv:4: error: prompt_file: nmae.txt: there is no column 'suk'",
        "a.csv:5: error: prompt_file: god.txt: there is no such file",
        "a.csv:6: error: prompt_file: the column 'file' is empty",
    ]
    assert taken.lines[2].endswith("(did you mean 'good.txt'?)")


def test_where_tells_what_a_line_of_json_lacks(desk: Desk) -> None:
    desk.write("a.jsonl", '{"sku": "x", "stock": 1}\n{"sku": "y", "stok": 1}\n{"sku": "z", "stock": null}\n')

    taken = [
        desk.take("a.json", catalog(rows="a.jsonl", where="stock | int > 0")),
        desk.take("a.json", catalog(rows="a.jsonl", where={"stock": [1]})),
    ]

    for each in taken:
        assert each.line.startswith("a.jsonl:2: error: where: the row has no 'stock', did you mean 'stok'? (")
        assert [job.id for job in each.jobs] == ["x"]


LONG = ",".join(map(str, range(300)))


@pytest.mark.parametrize(
    ("keys", "rows", "expected"),
    [
        (
            f"  matrix: {{a: [{LONG}], b: [{LONG}]}}",
            60,
            (
                "a.yaml:5: error: catalog.matrix: makes 90,000 jobs of each row, and there are more than 55 rows "
                "(the limit is 5,000,000 jobs: shorten the lists, or split the table over several manifests)"
            ),
        ),
        (
            f"  matrix: {{a: [{LONG}]}}\n  variants: 10\n  chain: [{{prompt: x}}, {{prompt: y}}]",
            850,
            "a.yaml:5: error: catalog.matrix: makes 6,000 jobs of each row, and there are more than 833 rows (",
        ),
        (
            f"  matrix: {{a: [{LONG}], b: [{LONG}]}}\n  variants: 100",
            1,
            (
                "a.yaml:5: error: catalog.matrix: makes 9,000,000 jobs of each row "
                "(the limit is 5,000,000: shorten the lists)"
            ),
        ),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.timeout(20)
def test_billions_of_jobs_are_refused_before_any_is_made(
    desk: Desk, keys: str, rows: int, expected: str, suffix: str
) -> None:
    lines = [f"s{number}" for number in range(rows)]
    desk.write("a.csv", "\n".join(["sku", *lines]) + "\n" * 500)
    desk.write("a.jsonl", "\n".join(json.dumps({"sku": line}) for line in lines))
    prompt = "" if "chain" in keys else "  prompt: x\n"
    document = f'catalog:\n  rows: a.{suffix}\n  id: "{{{{ sku }}}}"\n  meta: {{a: 1}}\n{keys}\n{prompt}'

    taken = desk.take("a.yaml", document)

    assert taken.line.startswith(expected)
    assert (taken.total, taken.fatal) == (0, 1)


@pytest.mark.timeout(20)
def test_without_a_table_too_many_jobs_are_refused_as_well(desk: Desk) -> None:
    keys = f"  matrix: {{a: [{LONG}], b: [{LONG}]}}\n  variants: 200"
    taken = desk.take("a.yaml", f'catalog:\n  id: "{{{{ a }}}}-{{{{ b }}}}"\n  prompt: x\n{keys}\n')

    assert taken.line.startswith("a.yaml:4: error: catalog.matrix: makes 18,000,000 jobs of each row (")


@pytest.mark.timeout(20)
def test_a_condition_on_the_row_is_looked_at_once_for_all_its_choices(desk: Desk) -> None:
    """A few products of a long table in many scenes: trying each scene of each row would take minutes."""
    desk.write("a.csv", "sku\n" + "".join(f"s{number}\n" for number in range(20_000)))
    matrix = {"a": list(range(30)), "b": list(range(20))}
    text = catalog(matrix=matrix, where="sku == 'S5' or sku == 's7'", id="{{ sku }}-{{ a }}-{{ b }}")

    taken = desk.take("a.json", text)

    assert (taken.total, taken.lines) == (600, [])
    assert (taken.jobs[0].id, taken.jobs[-1].id) == ("s7-0-0", "s7-29-19")


def test_what_a_condition_picks_is_counted_as_it_comes(desk: Desk) -> None:
    desk.write("a.csv", "sku\n" + "x\n" * 6000)
    text = catalog(variants=1000, where="sku == 'x'")
    opened = desk.write("a.json", text).open()

    assert sum(1 for _ in opened.drafts) == 5000
    (fault,) = opened.faults
    assert (fault.line, fault.field, fault.message) == (3, "catalog.rows", "makes more than 5,000,000 jobs")


def test_a_table_that_breaks_off_is_counted_as_far_as_it_goes(desk: Desk) -> None:
    desk.write("a.csv", 'sku\nx\n"never closed\n')

    taken = desk.take("a.json", catalog(matrix={"a": [1, 2]}, id="{{ sku }}-{{ a }}"))

    assert [job.id for job in taken.jobs] == ["x-1", "x-2"]
    assert taken.lines[0].startswith("a.json:3: error: catalog.rows: a.csv can't be read to its end")


def test_a_row_whose_id_is_taken_is_looked_at_all_the_same(desk: Desk) -> None:
    """Else its photo would be complained about once the id is mended."""
    desk.photo("mug.jpg")
    desk.write("a.csv", "sku,photo\na,mug.jpg\na,mgu.jpg\nb,mug.jpg\n")

    taken = desk.take("a.json", catalog(id="{{ sku }}", images=["{{ photo }}"]))

    assert [line.partition(" (")[0] for line in taken.lines] == [
        "a.csv:3: error: [a] id: the id 'a' is taken by a.csv:2",
        "a.csv:3: error: [a] images[1]: mgu.jpg: there is no such file",
    ]
    assert ([job.id for job in taken.jobs], taken.unusable) == (["a", "b"], 1)
