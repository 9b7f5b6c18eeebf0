"""reviews.jsonl: several people at once, crashes, merges, and images that change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxbatch.app.review import Refused, Said, Standing, VerdictFile, open_reviews
from fluxbatch.errors import UsageError
from fluxbatch.model.review import Review, Verdict
from fluxbatch.planning.reviews import Verdicts, read_moment, review_line, review_of
from tests.review.folder import digest, make_folder

if TYPE_CHECKING:
    from pathlib import Path

    from fluxbatch.app.folder import Paths

A, B, C = (digest(name) for name in "abc")
NOW = 1_790_000_000.0


def say(paths: Paths, *said: Said, by: str = "Ann") -> list[Review | Refused]:
    async def call() -> list[Review | Refused]:
        async with open_reviews(paths) as reviews:
            return await reviews.record(said, by=by)

    return anyio.run(call)


def standings(paths: Paths) -> dict[str, Standing]:
    async def call() -> dict[str, Standing]:
        async with open_reviews(paths) as reviews:
            return {one.id: one.standing async for one in reviews.images()}

    return anyio.run(call)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "jobs.yaml").touch()
    return make_folder(tmp_path / "out", {str(tmp_path / "jobs.yaml"): ["a", "b", "c"]})


# ------------------------------------------------------------------------------------------------------- what stands
def test_a_verdict_stands_beside_the_manifest_with_its_keys_in_order(paths: Paths) -> None:
    say(paths, Said("a", A, Verdict.APPROVED), Said("b", B, Verdict.REJECTED, 'six fingers, "really"\n<script>'))
    found = lines(paths.out.parent / "reviews.jsonl")
    assert [list(line) for line in found] == [["id", "sha256", "verdict", "note", "by", "at"]] * 2
    assert [(line["verdict"], line["by"]) for line in found] == [("approved", "Ann"), ("rejected", "Ann")]
    assert standings(paths) == {"a": Standing.APPROVED, "b": Standing.REJECTED, "c": Standing.UNREVIEWED}


def test_the_last_word_counts_and_null_takes_it_back(paths: Paths) -> None:
    say(paths, Said("a", A, Verdict.REJECTED))
    say(paths, Said("a", A, Verdict.APPROVED), by="Ben")
    assert standings(paths)["a"] is Standing.APPROVED
    say(paths, Said("a", A, None, "a note alone"))
    assert standings(paths)["a"] is Standing.UNREVIEWED


def test_what_stands_already_is_not_written_again(paths: Paths) -> None:
    [first] = say(paths, Said("a", A, Verdict.REJECTED, "dark"))
    [again] = say(paths, Said("a", A, Verdict.REJECTED, "dark"), by="Ben")
    assert again == first
    say(paths, Said("b", B, None))
    assert len(lines(paths.out.parent / "reviews.jsonl")) == 1


def test_a_verdict_on_an_image_that_is_another_one_by_now_is_refused_and_an_old_one_is_outdated(paths: Paths) -> None:
    say(paths, Said("a", A, Verdict.REJECTED), Said("b", B, None, "a note"))
    make_folder(paths.out, {str(paths.out.parent / "jobs.yaml"): ["a", "b", "c"]}, version=2)
    taken = say(paths, Said("a", A, Verdict.APPROVED), Said("a", digest("a", 2), Verdict.APPROVED), Said("x", A, None))
    assert [isinstance(one, Refused) for one in taken] == [True, False, True]
    assert standings(paths) == {"a": Standing.APPROVED, "b": Standing.UNREVIEWED, "c": Standing.UNREVIEWED}
    make_folder(paths.out, {str(paths.out.parent / "jobs.yaml"): ["a", "b", "c"]}, version=3)
    assert standings(paths)["a"] is Standing.OUTDATED
    make_folder(paths.out, {str(paths.out.parent / "jobs.yaml"): ["a", "b", "c"]}, version=1)
    assert standings(paths)["a"] is Standing.REJECTED, "what was said of these very bytes"


def test_who_saw_something_older_is_told_what_stands(paths: Paths) -> None:
    [first] = say(paths, Said("a", A, Verdict.REJECTED, after=""))
    assert isinstance(first, Review)
    [second] = say(paths, Said("a", A, Verdict.APPROVED, after=first.at), by="Ben")
    [late] = say(paths, Said("a", A, None, "never mind", after=first.at))
    assert isinstance(late, Refused)
    assert late.now == second
    assert "approved by Ben" in late.why


def test_a_clock_that_goes_back_changes_no_last_word(tmp_path: Path) -> None:
    file = VerdictFile(tmp_path)
    file.append([Said("a", A, Verdict.APPROVED)], "Ann", NOW)
    file.append([Said("a", A, Verdict.REJECTED)], "Ben", NOW - 3600)
    stands = file.verdicts.of("a", A)
    assert stands is not None
    assert stands.verdict is Verdict.REJECTED


def test_simulated_images_and_those_without_a_manifest_keep_theirs_in_the_output_folder(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "jobs.yaml").touch()
    mixed = {str(tmp_path / "one" / "jobs.yaml"): ["a"], str(tmp_path / "two" / "jobs.yaml"): ["b"], "photos": ["c"]}
    paths = make_folder(tmp_path / "out", mixed)
    say(paths, Said("a", A, Verdict.APPROVED), Said("b", B, Verdict.APPROVED), Said("c", C, Verdict.REJECTED))
    found = {path.parent.name: [line["id"] for line in lines(path)] for path in tmp_path.rglob("reviews.jsonl")}
    assert found == {"one": ["a"], "two": ["b"], "out": ["c"]}
    assert standings(paths)["b"] is Standing.APPROVED

    simulated = make_folder(tmp_path / "sim", {str(tmp_path / "one" / "jobs.yaml"): ["a"]}, kind="simulated")
    assert standings(simulated) == {"a": Standing.UNREVIEWED}
    say(simulated, Said("a", A, Verdict.REJECTED))
    assert standings(paths)["a"] is Standing.APPROVED


@pytest.mark.parametrize("said", [Said("a", A, None, "x" * 10_001), Said("a", A, None, "\ud800")])
def test_notes_have_their_limits(paths: Paths, said: Said) -> None:
    with pytest.raises(UsageError, match=r"\[a\] the note"):
        say(paths, Said("b", B, Verdict.APPROVED), said)
    assert not (paths.out.parent / "reviews.jsonl").exists()


# --------------------------------------------------------------------------------------------------- several at once
AT_ONCE = """
import sys
from pathlib import Path
from fluxbatch.app.review import Said, VerdictFile
from fluxbatch.model.review import Verdict
name, count = sys.argv[2], int(sys.argv[3])
file = VerdictFile(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for n in range(count):
    said = [Said(f"{name}-{n}", "0" * 64, Verdict.APPROVED, "é" * n), Said("both", "0" * 64, None, f"{name} {n}")]
    file.append(said, name, 1_790_000_000.0)
print(len(file.verdicts.ids(Verdict.APPROVED)))
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    count = 60
    people = [
        subprocess.Popen(
            [sys.executable, "-c", AT_ONCE, str(tmp_path), name, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in ("ann", "ben", "cem")
    ]
    for one in people:
        assert one.stdout is not None
        assert one.stdout.readline() == b"ready\n"
    for one in people:
        assert one.stdin is not None
        one.stdin.write(b"\n")
        one.stdin.flush()
    for one in people:
        one.communicate(timeout=30)
        assert one.returncode == 0
    file = VerdictFile(tmp_path)
    file.refresh()
    assert len(file.verdicts.ids(Verdict.APPROVED)) == 3 * count
    found = [review_of(line) for line in (tmp_path / "reviews.jsonl").read_bytes().splitlines()]
    assert len(found) == 6 * count
    shared = [one.at for one in found if one.id == "both"]
    assert sorted(set(shared)) == shared, "the last line is the last word, also within one microsecond"


def test_what_another_process_says_is_seen_and_so_is_a_file_that_git_put_in_its_place(tmp_path: Path) -> None:
    mine, theirs = VerdictFile(tmp_path), VerdictFile(tmp_path)
    mine.append([Said("a", A, Verdict.APPROVED)], "Ann", NOW)
    assert theirs.refresh() == {"a"}
    theirs.append([Said("b", B, Verdict.REJECTED)], "Ben", NOW)
    assert mine.refresh() == {"b"}
    assert mine.refresh() == set()

    path = tmp_path / "reviews.jsonl"
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().splitlines(keepends=True)[1])
    other.rename(path)
    mine.refresh()
    assert mine.verdicts.of("a", A) is None
    path.write_bytes(review_line(Review("c", C, Verdict.APPROVED, "n" * 900, "Cem", "2026-11-23T12:00:00Z")) + b"\n")
    mine.refresh()
    assert (mine.verdicts.of("b", B), mine.verdicts.ids(Verdict.APPROVED)) == (None, {"c"})
    whole = path.read_bytes()
    path.write_bytes(b"[]\n")
    with pytest.raises(UsageError, match="is no JSON object"):
        mine.refresh()
    path.write_bytes(whole.replace(b'"c"', b'"d"'))
    assert mine.refresh() == {"c", "d"}, "told of what is gone as well"
    assert mine.verdicts.ids(Verdict.APPROVED) == {"d"}
    path.unlink()
    assert mine.refresh() == {"d"}
    assert not mine.verdicts.ids(Verdict.APPROVED)
    mine.append([Said("a", A, Verdict.APPROVED)], "Ann", NOW)
    assert mine.verdicts.ids(Verdict.APPROVED) == {"a"}


# ------------------------------------------------------------------------------------------------- crashes and errors
def test_what_a_crash_left_at_any_byte_is_healed_by_the_next_line(tmp_path: Path) -> None:
    file = VerdictFile(tmp_path)
    file.append([Said("a", A, Verdict.APPROVED)], "Ann", NOW)
    file.append([Said("b", B, Verdict.REJECTED, "“torn”")], "Ann", NOW)
    whole = file.path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first + 1, len(whole), 2):
        for rest in (whole[first:cut], bytes(cut - first)):  # of a power cut, zeros may be left
            file.path.write_bytes(whole[:first] + rest)
            reader = VerdictFile(tmp_path)
            reader.refresh()
            assert reader.verdicts.ids(Verdict.APPROVED) == {"a"}
            reader.append([Said("c", C, Verdict.APPROVED)], "Ben", NOW)
            ids = [line["id"] for line in lines(file.path)]
            assert ids == (["a", "b", "c"] if rest == whole[first:-1] else ["a", "c"])


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b'{"id":"x"', "is not JSON"),
        (b"[1]", "is no JSON object"),
        (b"<<<<<<< HEAD", "merge=union"),
        (b'{"id":"x","sha256":"12","verdict":null,"note":"","by":"","at":"2026-11-23T12:00:00Z"}', "64 hex digits"),
        (
            b'{"id":"x","sha256":"%s","verdict":"meh","note":"","by":"","at":"2026-11-23T12:00:00Z"}' % A.encode(),
            "'meh'",
        ),
        (b'{"id":"x","sha256":"%s","verdict":null,"note":"","by":"","at":"2026-11-23 12:00"}' % A.encode(), "'at' is"),
        (b'{"id":"x","sha256":"%s","verdict":null,"note":"","by":"","at":"9999-12-31T23:59Z"}' % A.encode(), "'at' is"),
    ],
)
def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path, broken: bytes, said: str) -> None:
    file = VerdictFile(tmp_path)
    file.append([Said("a", A, Verdict.APPROVED)], "Ann", NOW)
    good = file.path.read_bytes()
    file.path.write_bytes(good + broken + b"\n" + good)
    for act in (VerdictFile(tmp_path).refresh, lambda: file.append([Said("b", B, None, "x")], "Ann", NOW)):
        with pytest.raises(UsageError) as caught:
            act()
        assert f"{file.path}:2: " in str(caught.value)
        assert said in str(caught.value)
        assert caught.value.remedy
    assert file.path.read_bytes() == good + broken + b"\n" + good


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.write_text("mine\n")
    (tmp_path / "reviews.jsonl").symlink_to(other)
    with pytest.raises(UsageError, match="is a link"):
        VerdictFile(tmp_path).append([Said("a", A, Verdict.APPROVED)], "Ann", NOW)
    assert other.read_text() == "mine\n"


def test_lines_are_brought_to_the_disk_before_they_count(tmp_path: Path) -> None:
    code = AT_ONCE.replace(
        "sys.stdin.readline()", "import os; os.fsync = lambda fd, f=os.fsync: (print('fsync'), f(fd))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "ann", "2"], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("fsync") == 3, "each, and the folder of the new file"


# ------------------------------------------------------------------------------------------------------------- merges
MOMENTS = st.sampled_from(
    ["2026-11-23T12:00:00Z", "2026-11-23T12:00:00.000001Z", "2026-11-23T14:00:00+02:00", "2026-11-24T00:00:00Z"]
)
REVIEWS = st.builds(
    Review,
    id=st.sampled_from(["a", "b"]),
    sha256=st.sampled_from([A, B]),
    verdict=st.sampled_from([*Verdict, None]),
    note=st.text(max_size=8),
    by=st.sampled_from(["Ann", "Ben\u202e"]),
    at=MOMENTS,
)


def state(reviews: list[Review]) -> dict[tuple[str, str], Review | None]:
    verdicts = Verdicts(reviews)
    return {(job_id, sha256): verdicts.of(job_id, sha256) for job_id in ("a", "b") for sha256 in (A, B)}


@given(st.lists(REVIEWS, max_size=12), st.data())
def test_lines_say_the_same_in_any_order_and_twice(reviews: list[Review], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations([*reviews, *reviews[:3]]))
    assert state(shuffled) == state(reviews)
    for (job_id, sha256), stands in state(reviews).items():
        about = [one for one in reviews if (one.id, one.sha256) == (job_id, sha256)]
        assert (stands is None) is (not about)
        assert stands is None or read_moment(stands.at) == max(read_moment(one.at) for one in about)


@given(REVIEWS)
def test_a_line_is_read_back_as_it_was_written(review: Review) -> None:
    line = review_line(review)
    assert b"\n" not in line
    assert review_of(line) == review


def test_two_branches_that_git_merges_by_union(tmp_path: Path) -> None:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t"}
    env |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}

    def git(*args: str) -> None:
        subprocess.run(["git", *args], cwd=tmp_path, env=env, check=True, capture_output=True)

    (tmp_path / ".gitattributes").write_text("reviews.jsonl merge=union\n")
    file = VerdictFile(tmp_path)
    git("init", "-q", "-b", "main")
    file.append([Said("a", A, Verdict.APPROVED)], "Ann", NOW)
    git("add", ".")
    git("commit", "-qm", "one")
    git("checkout", "-qb", "other")
    file.append([Said("a", A, Verdict.REJECTED, "later"), Said("b", B, Verdict.APPROVED)], "Ben", NOW + 20)
    git("commit", "-qam", "two")
    git("checkout", "-q", "main")
    file.append([Said("a", A, None, "sooner"), Said("c", C, Verdict.APPROVED)], "Ann", NOW + 10)
    git("commit", "-qam", "three")
    git("merge", "-q", "other", "-m", "both")
    file.refresh()
    stands = file.verdicts.of("a", A)
    assert stands is not None
    assert (stands.verdict, stands.note) == (Verdict.REJECTED, "later")
    assert file.verdicts.ids(Verdict.APPROVED) == {"a", "b", "c"} - {"a"}


@pytest.mark.slow
def test_ten_thousand_images(tmp_path: Path) -> None:
    (tmp_path / "jobs.yaml").touch()
    ids = [f"job-{n:05}" for n in range(10_000)]
    paths = make_folder(tmp_path / "out", {str(tmp_path / "jobs.yaml"): ids})
    verdicts = [Verdict.APPROVED, Verdict.REJECTED, None]
    say(paths, *(Said(job_id, digest(job_id), verdicts[n % 3]) for n, job_id in enumerate(ids)))

    async def count() -> dict[Standing, int]:
        async with open_reviews(paths) as reviews:
            return dict(await reviews.counts())

    expected = {Standing.APPROVED: 3334, Standing.REJECTED: 3333, Standing.UNREVIEWED: 3333, Standing.OUTDATED: 0}
    assert anyio.run(count) == expected
