"""Tables as people have them: Excel's CSV of all countries, workbooks, Parquet; for catalogues and as manifests."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import openpyxl
import pyarrow as pa  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxbatch.model.job import PlannedJob
    from tests.planning.helpers import Desk, Taken

CATALOG = 'catalog: {{rows: {rows}, id: "{{{{ sku }}}}", prompt: "{{{{ name }}}}"}}'


def take_catalog(desk: Desk, rows: str, content: bytes) -> Taken:
    desk.write(rows, content)
    return desk.take("a.yaml", CATALOG.format(rows=rows))


def prompts(taken: Taken) -> dict[str, Any]:
    assert taken.lines == []
    return {job.id: job.fields["prompt"] for job in taken.jobs}


def write_workbook(desk: Desk, name: str, rows: Sequence[Sequence[Any]]) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in rows:
        book.active.append(list(row))
    book.save(desk.folder / name)


# -------------------------------------------------------------------------------------------------------------- CSV
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_as_excel_writes_it(desk: Desk, encoding: str, separator: str, end: str) -> None:
    rows = [
        ["sku", "name", "备注, 其他", ""],
        ["杯子", f"红色,马克杯; \t大{end}第二行", "", ""],
        ["", "", "", ""],
        ["b", "盘", "x", ""],
    ]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, lineterminator=end).writerows(rows)

    taken = take_catalog(desk, "a.csv", file.getvalue().encode(encoding))

    assert prompts(taken) == {"杯子": f"红色,马克杯; \t大{end}第二行", "b": "盘"}


@pytest.mark.parametrize("encoding", ["utf-16", "gb18030"])
def test_a_manifest_may_be_written_so_too(desk: Desk, encoding: str) -> None:
    desk.photo("主图.jpg")
    text = "id\tprompt\timages\t颜色\t\r\n杯子\t红色的杯子\t主图.jpg\t深蓝\t\r\n"

    job = desk.take("a.tsv", text.encode(encoding)).job

    assert (job.id, job.fields["prompt"], job.meta) == ("杯子", "红色的杯子", {"颜色": "深蓝"})


@pytest.mark.parametrize(
    "text",
    [
        'sku,name,"a; b; c; d"\na,x,\n',
        '"first\nline";sku;name\n;a;x\n',
        '"a, b, c"\tsku\tname\n\ta\tx\n',
        '\n"x ""y"", z, z";sku;name\n;a;x\n',
    ],
)
def test_the_separator_is_what_stands_between_the_names(desk: Desk, text: str) -> None:
    assert prompts(take_catalog(desk, "a.csv", text.encode())) == {"a": "x"}


def test_a_line_that_excel_writes_for_itself(desk: Desk) -> None:
    desk.write("a.csv", "sep=;\r\nsku;name\r\na;x, y\r\nb;\r\n")

    taken = desk.take("a.yaml", CATALOG.format(rows="a.csv"))

    assert [job.fields["prompt"] for job in taken.jobs] == ["x, y"]
    assert taken.line.startswith("a.csv:4: error: prompt: the column 'name' is empty")


COMMON = "的一是不了人我在有他这中大来上个国和地到说们为子时道出而要于就下得可你年生自会那后能对着事其里所去"
PRODUCT_WORDS = st.text(st.sampled_from(COMMON + "红色蓝杯马克陶瓷盘白大号产品图片，。（）"), min_size=2, max_size=20)


@given(
    names=st.lists(PRODUCT_WORDS, min_size=1, max_size=8), odd=st.sampled_from(["", "T恤", "USB线", "10cm", "镕", "€"])
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chinese_tables_come_back_as_they_were(desk: Desk, names: list[str], odd: str) -> None:
    rows = [[f"s{number}", name] for number, name in enumerate(names)]
    if odd and sum(map(len, names)) > 60:
        rows.append(["odd", odd])
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["sku", "name", "商品名称"], *rows])

    taken = take_catalog(desk, "a.csv", file.getvalue().encode("gb18030"))

    assert prompts(taken) == {sku: name.strip() for sku, name in rows}


WESTERN_WORDS = """
für Größe Straße süß Maß Äpfel Öl ÜBUNG GRÖSSE ÄÖÜ créée crème brûlée façade œuvre L'ÉTÉ déjà noël «été» naïve Ÿ
¿Qué? ¡¡Oferta!! año niño ÑANDÚ coração João São pão São× blåbær rød KØB smörgås hyvää päivää HÄÄYÖ PÄÄ yö
20°C ½ £5 €9 “quoted” it’s – … ™ ®
"""
WESTERN = st.sampled_from(WESTERN_WORDS.split())


@given(words=st.lists(WESTERN, min_size=1, max_size=40), separator=st.sampled_from([" ", ", ", "/", "-"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_western_text_is_never_taken_for_chinese(desk: Desk, words: list[str], separator: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["sku", "name"], *([f"s{n}", separator.join(words)] for n in range(3))])
    content = file.getvalue().encode("cp1252")
    assume(not content.isascii())

    taken = take_catalog(desk, "a.csv", content)
    said = desk.take("b.yaml", CATALOG.format(rows="a.csv").replace("rows: a.csv", "rows: a.csv, encoding: cp1252"))

    assert taken.jobs == []
    assert "is not UTF-8 text: byte 0x" in taken.lines[-1]
    assert "save it as 'CSV UTF-8'; a catalog may say 'encoding: cp1252'" in taken.lines[-1]
    assert prompts(said) == {f"s{n}": separator.join(words) for n in range(3)}


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Красная кружка, новая тарелка", "cp1251"),
        ("Привет", "cp1251"),
        ("PÄÄ", "cp1252"),
        ("Größe", "cp1252"),
        ("Κόκκινη κούπα και πιάτο", "cp1253"),
        ("赤いマグカップ、白いお皿", "shift_jis"),
        ("빨간 머그컵과 하얀 접시 그리고 파란 유리잔 세트 나무 쟁반 둥근 거울 작은 화분 큰 가방", "cp949"),
        ("紅色馬克杯，白色盤子", "big5"),
    ],
)
def test_what_looks_like_chinese_is_not_taken_for_it(desk: Desk, text: str, encoding: str) -> None:
    content = f'sku,name\na,"{text}"\n'.encode(encoding)

    assert take_catalog(desk, "a.csv", content).jobs == []
    said = desk.take(
        "b.yaml", CATALOG.format(rows="a.csv").replace("rows: a.csv", f"rows: a.csv, encoding: {encoding}")
    )
    assert prompts(said) == {"a": text}


def test_an_encoding_that_does_not_fit(desk: Desk) -> None:
    desk.write("a.csv", b"sku,name\na,x\nb,\x81\n")

    taken = desk.take("a.yaml", CATALOG.format(rows="a.csv").replace("a.csv", "a.csv, encoding: cp1252"))

    assert [job.id for job in taken.jobs] == ["a"]
    assert "a.csv:3: error: is not cp1252 text: byte 0x81 (check its 'encoding:')" in taken.lines


def test_utf16_that_breaks_off(desk: Desk) -> None:
    taken = desk.take("a.csv", "id,prompt\na,x\n".encode("utf-16") + b"x")

    assert "is not UTF-16 text from here on" in taken.lines[-1]


def test_a_column_without_name_counts_only_if_it_has_cells(desk: Desk) -> None:
    assert desk.take("a.csv", "id,prompt,,\na,x,,\n").lines == []
    assert desk.take("a.csv", "id,prompt,,\na,x,,\nb,x,,y\nc,x,,y\n").line == (
        "a.csv:1: error: column 4: column 4 has no name (name it, or remove it)"
    )


TEXT = (
    st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=30)
    .map(str.strip)
    .filter(bool)
)


@given(
    names=st.lists(TEXT, min_size=1, max_size=6),
    separator=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_csv_writer_wrote_is_read_back(
    desk: Desk, names: list[str], separator: str, quoting: Any, encoding: str
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=separator, quoting=quoting)
    writer.writerows([["sku", "name", "odd; header, here"], *([f"s{n}", name, ""] for n, name in enumerate(names))])

    taken = take_catalog(desk, "a.csv", file.getvalue().encode(encoding))

    assert prompts(taken) == {f"s{n}": name for n, name in enumerate(names)}


# ------------------------------------------------------------------------------------------- workbooks and Parquet
DAY = dt.date(2026, 11, 23)
TYPED: list[list[Any]] = [
    ["sku", "name", "whole", "part", "day", "at", "flag", "zeros"],
    [12345.0, "x", 7, 0.5, DAY, dt.datetime(2026, 1, 2, 3, 4, 5), True, "00123"],  # noqa: DTZ001 - as Excel has it
]
SEEN = "12345 x 7 0.5 2026-11-23 2026-01-02T03:04:05 true 00123"
ALL = " ".join(f"{{{{ {name} }}}}" for name in TYPED[0])


@pytest.mark.parametrize("suffix", ["xlsx", "parquet", "jsonl"])
def test_numbers_and_dates_as_people_see_them(desk: Desk, suffix: str) -> None:
    if suffix == "xlsx":
        write_workbook(desk, "a.xlsx", [*TYPED, [], [None, None]])
    elif suffix == "parquet":
        table = pa.table({str(name): [value] for name, value in zip(*TYPED, strict=True)} | {"bytes": [b"x"]})
        parquet.write_table(table, desk.folder / "a.parquet")
    else:
        desk.write("a.jsonl", json.dumps(dict(zip(*TYPED, strict=True)), default=lambda day: day.isoformat()))
    document = f"catalog: {{rows: a.{suffix}, where: flag, id: 'x{{{{ sku }}}}', prompt: '{ALL}'}}"

    assert prompts(desk.take("a.yaml", document)) == {"x12345": SEEN}


def test_a_workbook_and_a_parquet_file_as_manifests(desk: Desk) -> None:
    desk.photo("a.jpg")
    write_workbook(
        desk, "a.xlsx", [[], ["id", "prompt", "images", "seed", "price", None], [None], [7, "x", "a.jpg", 5, 1.50]]
    )
    columns = {
        "id": [7],
        "prompt": ["x"],
        "images": [["a.jpg"]],
        "seed": [5.0],
        "price": [None],
        "tags": [["b", "c"]],
        "count": [3.0],
    }
    parquet.write_table(pa.table(columns), desk.folder / "a.parquet")
    write_workbook(desk, "bad.xlsx", [["id", "promt"], ["a", "x"]])

    book, file, bad = (
        desk.take(name, (desk.folder / name).read_bytes()) for name in ("a.xlsx", "a.parquet", "bad.xlsx")
    )

    assert (book.lines, file.lines) == ([], [])
    assert [(job.id, job.fields["seed"], json.dumps(job.meta)) for job in (book.job, file.job)] == [
        ("7", 5, '{"price": "1.5"}'),
        ("7", 5, '{"tags": ["b", "c"], "count": 3}'),
    ]
    assert bad.lines[0].startswith("bad.xlsx:1: error: promt: 'promt' is not a field (did you mean 'prompt'?")


def test_sheets(desk: Desk) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.sheet_state = "hidden"
    for title, sku in (("Erste", "a"), ("Zweite", "b")):
        sheet = book.create_sheet(title)
        sheet.append(["sku", "name"])
        sheet.append([sku, "x"])
    book.save(desk.folder / "a.xlsx")

    def take_sheet(text: str) -> Taken:
        return desk.take("a.yaml", CATALOG.format(rows="a.xlsx").replace("a.xlsx", f"a.xlsx{text}"))

    assert list(prompts(take_sheet(""))) == ["a"]
    assert list(prompts(take_sheet(", sheet: Zweite"))) == ["b"]
    assert take_sheet(", sheet: Zweiter").line == (
        "a.yaml:1: error: catalog.rows: a.xlsx: has no sheet 'Zweiter' (did you mean 'Zweite'?)"
    )


@pytest.mark.parametrize("name", ["a.xlsx", "a.parquet"])
def test_files_that_only_have_the_name(desk: Desk, name: str) -> None:
    kind = "workbook of Excel" if name == "a.xlsx" else "Parquet file"

    assert (
        f"a.yaml:1: error: catalog.rows: {name}: is not a {kind}" in take_catalog(desk, name, b"sku,name\na,x\n").line
    )
    assert desk.take(name, b"sku,name\na,x\n").line.startswith(f"{name}: error: is not a {kind}")


WITHOUT = """
import sys
from pathlib import Path
sys.modules["pyarrow"] = sys.modules["python_calamine"] = None  # as if they were not installed
from tests.planning.helpers import ManifestFile, take
print(take(ManifestFile(Path(sys.argv[1]))).line)
"""


@pytest.mark.parametrize(("suffix", "library"), [("xlsx", "python-calamine"), ("parquet", "pyarrow")])
def test_a_library_that_is_missing_is_named_with_its_remedy(desk: Desk, suffix: str, library: str) -> None:
    path = desk.write(f"a.{suffix}", "x").path

    done = subprocess.run([sys.executable, "-c", WITHOUT, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout == (
        f"{path}: error: reading .{suffix} needs the library {library}, which is not installed "
        f"(pip install 'fluxbatch[{suffix}]')\n"
    )


def test_no_optional_library_is_loaded_for_a_csv(desk: Desk) -> None:
    desk.write("a.csv", "sku,name\na,x\n")
    path = desk.write("a.yaml", CATALOG.format(rows="a.csv")).path
    code = (
        "import sys; from pathlib import Path; from tests.planning.helpers import *;"
        "print(len(take(ManifestFile(Path(sys.argv[1]))).jobs), {'pyarrow', 'python_calamine'} & set(sys.modules))"
    )

    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout == "1 set()\n"


# ------------------------------------------------------------------------------------------------------- the whole
THOUSAND = """\
catalog:
  rows: products.{suffix}
  columns: {{photo: "主图 URL"}}
  matrix: {{scene: [海滩, 影棚, 街道]}}
  where: "库存 | int > 0"
  id: "{{{{ 货号 }}}}-{{{{ scene }}}}"
  prompt: "把图1的{{{{ 名称 }}}}放到图2的{{{{ scene }}}}"
  images: ["{{{{ photo }}}}", "场景/{{{{ scene }}}}.jpg"]
  meta: {{price: '{{{{ row["价格 (元)"] }}}}'}}
"""


def test_a_thousand_products_in_three_scenes_are_the_same_from_csv_and_excel(desk: Desk) -> None:
    desk.photo("图片/杯子.jpg")
    for scene in ("海滩", "影棚", "街道"):
        desk.photo(f"场景/{scene}.jpg", "grass.jpg")
    header = ["货号", "名称", "主图 URL", "库存", "价格 (元)"]
    rows = [[f"{n:05}", f"红色马克杯{n}号", "图片/杯子.jpg", n % 10 + 1, n / 4] for n in range(1000)]
    write_workbook(desk, "products.xlsx", [header, *rows])
    file = io.StringIO(newline="")
    csv.writer(file).writerows([header, *([*row[:4], f"{row[4]:.15g}"] for row in rows)])
    desk.write("products.csv", file.getvalue().encode("gb18030"))

    def jobs(suffix: str) -> list[PlannedJob]:
        taken = desk.take("shop.yaml", THOUSAND.format(suffix=suffix))
        assert taken.lines == []
        return taken.jobs

    from_csv, from_excel = jobs("csv"), jobs("xlsx")

    assert from_csv == from_excel
    assert len(from_csv) == 3000
    assert (from_csv[4].id, from_csv[4].meta) == ("00001-影棚", {"price": "0.25"})
    assert from_csv[4].fields["prompt"] == "把图1的红色马克杯1号放到图2的影棚"


MEASURE = """
import resource, sys
from pathlib import Path
from fluxbatch.planning.sources import ManifestFile

def count(path):
    return sum(1 for _ in ManifestFile(Path(path)).open().drafts)

count(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(count(sys.argv[2]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_long_table_is_never_in_memory(desk: Desk, suffix: str) -> None:
    def write_table(name: str, count: int) -> str:
        rows = [(f"s{number}", f"Product number {number} with some words about it") for number in range(count)]
        path = desk.folder / f"{name}.{suffix}"
        if suffix == "parquet":
            columns = dict(zip(("sku", "name"), zip(*rows, strict=True), strict=True))
            parquet.write_table(pa.table(columns), path, row_group_size=5000)
        elif suffix == "csv":
            path.write_text("\n".join(["sku,name", *map(",".join, rows)]))
        else:
            path.write_text("\n".join(json.dumps({"sku": sku, "name": name}) for sku, name in rows))
        return str(desk.write(f"{name}.yaml", CATALOG.format(rows=path.name)).path)

    few, many = write_table("few", 20_000), write_table("many", 300_000)

    done = subprocess.run([sys.executable, "-c", MEASURE, few, many], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    count, grown_kb = map(int, done.stdout.split())
    assert count == 300_000
    assert grown_kb < 12 * 1024
