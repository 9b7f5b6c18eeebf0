"""A plan and the run after it agree, whatever was changed in between: what is made, copied, kept, and what it costs."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import hypothesis
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fluxbatch.app.outline import outline
from fluxbatch.app.request import RunRequest
from fluxbatch.app.run import run
from fluxbatch.model.state import Reason
from fluxbatch.planning.sources import ManifestFile
from fluxbatch.settings import Settings
from fluxbatch.simulator import Faults
from fluxbatch.testing import make_png
from tests.app.stage import KEY, results, serving, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fluxbatch.model.outline import PlanEntry
    from tests.app.stage import Api

Key: TypeAlias = tuple[object, ...]
"""all that is asked for with a job, as this test understands it: never a fingerprint of fluxbatch"""

MODEL = {"model": "flux-2-klein-4b", "size": "64x64"}
SCENES = ("beach", "studio")
PHOTOS = ("one.png", "two.png")


@dataclass
class Row:
    """An entry of the manifest: a job, its variants, a chain, or a job that takes the image of another."""

    birth: int
    take: int = 0
    photo: str = ""
    variants: int = 1
    steps: int = 1
    needs: str = ""

    def parts(self, name: str) -> list[list[str]]:
        """The ids of each variant, one a step."""
        names = [name] if self.variants == 1 else [f"{name}-{n}" for n in range(1, self.variants + 1)]
        return [[*(f"{one}-step{n}" for n in range(1, self.steps)), one] for one in names]

    def prompt(self, step: int) -> str:
        # an edit changes the second step of a chain, and so all that follow
        return f"Number {self.birth}, step {step}, take {self.take if step == min(2, self.steps) else 0}"

    def entry(self, name: str) -> dict[str, Any]:
        said: dict[str, Any] = {"id": name, **MODEL}
        prompts = [self.prompt(step) for step in range(1, self.steps + 1)]
        said |= {"prompt": prompts[0]} if self.steps == 1 else {"chain": prompts}
        said["images"] = [{"job": self.needs}] if self.needs else [self.photo] if self.photo else []
        return said | ({"variants": self.variants} if self.variants > 1 else {})


@dataclass
class Image:
    """An image on disk, and what it was made from."""

    key: Key
    file: Path
    made: tuple[int, str]
    """in which run, and for which job; a copy was made when its original was"""
    edited: bool = False
    gone: bool = False

    @property
    def spoilt(self) -> bool:
        return self.edited or self.gone

    def is_for(self, key: Key) -> bool:
        return self.key == key and not self.gone


@dataclass
class Expected:
    make: set[str] = field(default_factory=set)
    copy: dict[str, Image] = field(default_factory=dict)
    """what each is a copy of"""
    refuse: set[str] = field(default_factory=set)


def picture(content: int) -> bytes:
    return make_png(content, width=64, height=64)


class World:
    """A manifest that is edited, and what this test knows of the images that there are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "jobs-out"
        self.born = 4
        self.rows = {
            "cat": Row(1, photo="one.png"),
            "dog": Row(2, variants=2, photo="two.png"),
            "tale": Row(3, steps=3),
            "oil": Row(4, needs="cat"),
        }
        self.products = {"mug": 0}
        self.photos = dict.fromkeys(PHOTOS, 0)
        self.images: dict[str, Image] = {}
        self.failed: dict[str, Key] = {}
        self.paid: set[str] = set()
        self.runs = 0

    # ------------------------------------------------------------------------------------------------------- edits
    def name_of(self, number: int) -> str:
        return list(self.rows)[number % len(self.rows)]

    def prompt(self, number: int) -> None:
        row = self.rows[self.name_of(number)]
        row.take = (row.take + 1) % 3  # so that it comes back to what it was

    def photo(self, number: int) -> None:
        name = PHOTOS[number % 2]
        self.photos[name] = (self.photos[name] + 1) % 3

    def touch(self, number: int) -> None:
        path = self.folder / PHOTOS[number % 2]
        if path.exists():
            os.utime(path, ns=(0, number))

    def rename(self, number: int) -> None:
        old = self.name_of(number)
        self.born += 1
        new = f"{old[:4]}-{self.born}"
        self.rows = {new if name == old else name: row for name, row in self.rows.items()}
        for row in self.rows.values():
            row.needs = new if row.needs == old else row.needs

    def remove(self, number: int) -> None:
        if len(self.rows) > 1:
            name = self.name_of(number)
            del self.rows[name]
            for row in self.rows.values():
                row.needs = "" if row.needs == name else row.needs

    def add(self, number: int) -> None:
        self.born += 1
        single = [name for name, row in self.rows.items() if row.variants == 1]
        kinds = [
            Row(self.born),
            Row(self.born, variants=2, steps=2),
            Row(self.born, needs=single[number % len(single)] if single else ""),
            Row(self.born, photo=PHOTOS[number % 2]),
        ]
        self.rows[f"new-{self.born}"] = kinds[number % len(kinds)]

    def variants(self, number: int) -> None:
        name = self.name_of(number)
        row = self.rows[name]
        row.variants = 3 - row.variants
        for other in self.rows.values():
            if other.needs == name:
                other.needs = ""

    def product(self, number: int) -> None:
        sku = ("mug", "cup", "hat")[number % 3]
        if sku in self.products and number % 2:
            del self.products[sku]
        else:
            self.products[sku] = (self.products.get(sku, -1) + 1) % 3

    def delete(self, number: int) -> None:
        if there := [image for _, image in sorted(self.images.items()) if not image.gone]:
            image = there[number % len(there)]
            image.gone = True
            image.file.unlink()

    def edit(self, number: int) -> None:
        if there := [image for _, image in sorted(self.images.items()) if not image.gone]:
            image = there[number % len(there)]
            image.edited = True
            image.file.write_bytes(picture(1000 + number))

    # ------------------------------------------------------------------------------------------- what is asked for
    def write(self) -> Path:
        document: dict[str, Any] = {"version": 1, "jobs": [row.entry(name) for name, row in self.rows.items()]}
        if self.products:
            lines = ["sku,name", *(f"{sku},{sku} of take {take}" for sku, take in self.products.items())]
            (self.folder / "products.csv").write_text("\n".join(lines))
            prompt = "The {{ name }} at the {{ scene }}"
            document["catalog"] = {"rows": "products.csv", "matrix": {"scene": SCENES}, "id": "{{ sku }}-{{ scene }}"}
            document["catalog"] |= {"prompt": prompt, **MODEL}
        for name, content in self.photos.items():
            photo = self.folder / name
            if not photo.exists() or photo.read_bytes() != picture(content):
                photo.write_bytes(picture(content))
        manifest = self.folder / "jobs.json"
        manifest.write_text(json.dumps(document))
        return manifest

    def asked(self) -> dict[str, tuple[Key, str]]:
        """The key of each job, and what it needs, in an order in which what is needed comes first."""
        found: dict[str, tuple[Key, str]] = {}
        for sku, take in self.products.items():
            found |= {f"{sku}-{scene}": (("product", sku, take, scene), "") for scene in SCENES}
        for name in sorted(self.rows, key=self._depth):
            row = self.rows[name]
            for variant, ids in enumerate(row.parts(name), 1):
                before = row.needs
                for step, job_id in enumerate(ids, 1):
                    first = self.photos[row.photo] if row.photo and not before else None
                    # the first steps of variants are asked for in the same words; what follows is of another image
                    source = (found[before][0], variant if step > 1 else 1) if before else None
                    key = (row.prompt(step), first, source)
                    found[job_id] = key, before
                    before = job_id
        return found

    def undo_edits_in_the_way(self) -> None:
        """Move away what was edited by hand and belongs to a job that was changed since: nothing would replace it."""
        for job_id, (key, _) in self.asked().items():
            image = self.images.get(job_id)
            if image is not None and image.edited and image.key != key:
                image.file.unlink(missing_ok=True)
                image.edited, image.gone = False, True

    def _depth(self, name: str) -> int:
        needs = self.rows[name].needs
        return 1 + self._depth(needs) if needs else 0

    def expected(self, retry: str) -> Expected:
        """What a run over everything is to do."""
        asked, found, dead = self.asked(), Expected(), set[str]()
        wanting = []
        for job_id, (key, _) in asked.items():
            image = self.images.get(job_id)
            if image is None or not image.is_for(key) or (image.edited and retry == "altered"):
                wanting.append(job_id)
        found.copy = self._inherited([job_id for job_id in wanting if job_id not in self.paid])
        for job_id in wanting:
            key, needs = asked[job_id]
            if job_id in found.copy:
                continue
            if self.failed.get(job_id) == key and retry != "moderated":
                dead.add(job_id)
            elif needs in dead:
                dead.add(job_id)
                found.refuse.add(job_id)
            else:
                found.make.add(job_id)
        return found

    def _inherited(self, wanting: list[str]) -> dict[str, Image]:
        """The images of ids that nobody asks for any more, one for each that wants it, with all copies of it."""
        asked, found = self.asked(), dict[str, Image]()
        gone = {image.made for name, image in self.images.items() if name in asked}
        left = [name for name in sorted(self.images) if name not in asked]
        while wanting:
            taken: dict[str, str] = {}
            for job_id in wanting:
                free = (name for name in left if self.images[name].key == asked[job_id][0])
                name = next((name for name in free if self.images[name].made not in gone), None)
                if name is not None:
                    taken[job_id] = name
                    gone.add(self.images[name].made)
            # what can't be copied hides no other copy of the same image
            spoilt = {job_id: name for job_id, name in taken.items() if self.images[name].spoilt}
            gone -= {self.images[name].made for name in spoilt.values()}
            found |= {job_id: self.images[name] for job_id, name in taken.items() if job_id not in spoilt}
            left = [name for name in left if name not in taken.values()]
            wanting = list(spoilt)
        return found

    def note(self, lines: list[dict[str, Any]], touched: set[str], made: set[str], copies: dict[str, Image]) -> None:
        """Take in what a run has done."""
        asked, fresh = self.asked(), made | copies.keys()
        self.runs += 1
        for line in lines:
            job_id = line["id"]
            if job_id not in touched:
                continue
            key = asked[job_id][0]
            if line["status"] == "stored":
                self.paid.add(job_id)
                self.failed.pop(job_id, None)
                if job_id in fresh:
                    when = copies[job_id].made if job_id in copies else (self.runs, job_id)
                    self.images[job_id] = Image(key, self.out / line["file"], when)
            elif job_id in fresh and line["error"]["code"] == "moderated":
                self.failed[job_id] = key


EDITS = (
    *("prompt", "photo", "touch", "rename", "remove", "add", "variants", "product", "delete", "edit"),
    *("prompt", "rename", "delete"),  # what matters most, more often
)
HOW = ("all", "all", "all", "only", "limit", "moderated", "altered")


@dataclass(frozen=True)
class Turn:
    """Edits, then a run: over all, over what a pattern or a number leaves, or with failures tried again."""

    edits: tuple[tuple[str, int], ...]
    how: str
    number: int
    fails: int | None
    """the seed of moderation, which refuses a third"""


TURNS = st.lists(
    st.builds(
        Turn,
        edits=st.lists(st.tuples(st.sampled_from(EDITS), st.integers(0, 11)), max_size=3).map(tuple),
        how=st.sampled_from(HOW),
        number=st.integers(0, 11),
        fails=st.none() | st.integers(0, 99),
    ),
    min_size=2,
    max_size=5,
)


@contextmanager
def a_world() -> Iterator[tuple[Api, World]]:
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "api", latency_s=0) as api:
        (Path(folder) / "work").mkdir()
        yield api, World(Path(folder) / "work")


def request_for(api: Api, manifest: Path, digest: str = "", **narrow: Any) -> RunRequest:
    # one request at a time, so that the same ones fail in each trial
    return RunRequest(
        sources=[ManifestFile(manifest)],
        base_url=api.sim.base_url,
        api_key=KEY,
        settings=Settings(concurrency=1, **narrow),
        expect_digest=digest,
    )


def plan_of(request: RunRequest) -> tuple[dict[str, PlanEntry], dict[str, Any]]:
    found = anyio.run(outline, request)
    try:
        return {entry.id: entry for entry in found.entries()}, found.as_dict()
    finally:
        found.close()


def narrowing(world: World, turn: Turn) -> dict[str, Any]:
    ids = sorted(world.asked())
    match turn.how:
        case "only":
            return {"only": (f"{ids[turn.number % len(ids)][:4]}*",)}
        case "limit":
            return {"limit": turn.number % 4}
        case "moderated":
            return {"retry": frozenset({Reason.MODERATED})}
        case "altered":
            return {"retry_altered": True}
        case _:
            return {}


def closure(world: World, names: set[str]) -> set[str]:
    """With what they need."""
    asked, found = world.asked(), set[str]()
    while names:
        found |= names
        names = {asked[name][1] for name in names if asked[name][1]}
    return found


def take_turn(api: Api, world: World, turn: Turn) -> None:
    for edit, number in turn.edits:
        getattr(world, edit)(number)
    manifest, narrow = world.write(), narrowing(world, turn)
    if turn.how != "altered":
        world.undo_edits_in_the_way()
    expected = world.expected(turn.how)
    touched = set(world.asked())
    if "only" in narrow:
        touched = closure(world, {name for name in touched if name.startswith(narrow["only"][0][:-1])})

    # what is planned is what is to be expected
    entries, facts = plan_of(request_for(api, manifest, **narrow))
    planned: dict[str, set[str]] = {}
    for entry in entries.values():
        planned.setdefault(entry.action, set()).add(entry.id)
    make, copy = planned.get("make", set()), planned.get("copy", set())
    assert entries.keys() == world.asked().keys()
    assert copy == touched & expected.copy.keys()
    if turn.how == "limit":
        assert len(make) <= narrow["limit"]
        assert make | planned.get("skip", set()) == expected.make
        touched -= planned.get("skip", set())
    else:
        assert make == touched & expected.make
    assert planned.get("refuse", set()) == expected.refuse
    assert (facts["make"], facts["copied"]) == (len(make), len(copy))

    # what is run is what was planned
    originals = {name: expected.copy[name].file.read_bytes() for name in copy}
    before = len(api.sim.calls), api.sim.requests, api.sim.spent_usd
    api.sim.faults = Faults() if turn.fails is None else Faults(rates={"moderation": 0.34}, seed=turn.fails)
    summary = anyio.run(run, request_for(api, manifest, facts["digest"], **narrow)).summary
    lines = {line["id"]: line for line in results(world.out)}
    calls, spent = api.sim.calls[before[0] :], api.sim.spent_usd - before[2]
    ids = {(sha256(line["prompt"].encode()), line["seed"]): name for name, line in lines.items() if name in make}
    billed = Counter(ids[call.prompt_sha256, call.fields["seed"]] for call in calls)
    codes = {name: lines[name]["error"]["code"] for name in make if lines[name]["error"]}
    refused = {name for name, code in codes.items() if code == "moderated"}
    stranded = {name for name, code in codes.items() if code == "dependency_failed"}
    assert refused | stranded == codes.keys()
    assert billed == Counter(make - refused - stranded)
    assert api.sim.requests - before[1] == summary.requests == len(make) - len(stranded)
    assert spent == pytest.approx(summary.cost_usd)
    if not codes:
        assert spent == pytest.approx(facts["usd"])
    for name, original in originals.items():
        assert (world.out / lines[name]["file"]).read_bytes() == original

    # and then there is nothing left to do
    world.note(list(lines.values()), touched, make, {name: expected.copy[name] for name in copy})
    again, account = plan_of(request_for(api, manifest, **narrow | {"retry": frozenset(), "retry_altered": False}))
    if turn.how != "limit":
        assert not account["has_work"], [entry for entry in again.values() if entry.action in {"make", "copy"}]
        assert sum(account["failed"].values()) == len((refused | world.failed.keys()) & touched & kept(again))


def kept(entries: dict[str, PlanEntry]) -> set[str]:
    """Failures that stay so."""
    return {entry.id for entry in entries.values() if entry.why.startswith("failed before")}


def edited(*edits: tuple[str, int]) -> list[Turn]:
    return [Turn((edit,), "all", 0, None) for edit in edits]


@settings(max_examples=4, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@example(turns=edited(("rename", 0), ("variants", 0)))  # an image and a copy of it, both free, and two that ask for it
@example(turns=edited(("variants", 2), ("rename", 2)))  # variants of a chain whose first steps are alike
@given(turns=TURNS)
def test_what_is_planned_is_what_is_sent(turns: list[Turn]) -> None:
    with a_world() as (api, world):
        for turn in [Turn((), "all", 0, None), *turns]:
            take_turn(api, world, turn)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=50, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@given(turns=TURNS, fails=st.none() | st.integers(0, 9))
def test_what_is_planned_is_what_is_sent_at_length(turns: list[Turn], fails: int | None) -> None:
    with a_world() as (api, world):
        for turn in [Turn((), "all", 0, fails), *turns, replace(turns[-1], edits=(), how="all", fails=None)]:
            take_turn(api, world, turn)
