"""The review page: the gallery of a folder, with what people say of each image, for several of them at once."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from fluxbatch.app.review import Refused, Said, open_reviews, own_name
from fluxbatch.app.shelf import FolderShelf, addresses, changes_of
from fluxbatch.app.tail import Tail, jobs_in
from fluxbatch.errors import FluxbatchError, UsageError
from fluxbatch.model.review import Verdict
from fluxbatch.report.gallery.served import served_page
from fluxbatch.web.server import Server
from fluxbatch.web.shelf import Refused as Shut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from pathlib import Path

    from fluxbatch.app.folder import Paths
    from fluxbatch.app.review import Reviewed, Reviews
    from fluxbatch.model.job import Record
    from fluxbatch.model.review import Review
    from fluxbatch.web.address import Bound

__all__ = ["serve_reviews"]

_EVERY_S: Final = 1.0
_MOST_CHANGED: Final = 1_000
"""jobs told of one by one; with more of them at a time, pages look anew"""
_ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def serve_reviews(paths: Paths, bound: Bound, ready: Callable[[str], None]) -> None:
    """Serve the page until a signal comes; ``ready`` is told its link.

    Raises:
        UsageError: there is no ledger, the images are in an object store, or a line of a review file is broken.
        StorageError: a review file can't be read.
    """
    if paths.store is not None:
        raise UsageError(
            f"the page shows images of a local folder, these are in {paths.store}",
            remedy="look at them in `fluxbatch report`, and say so in a table: --export, --import",
        )
    async with AsyncExitStack() as stack:
        reviews = await stack.enter_async_context(open_reviews(paths))
        await reviews.refresh()
        name = "" if bound.is_open else await anyio.to_thread.run_sync(own_name, paths.out)
        page = _ReviewPage(paths, reviews, bound, name)
        stack.push_async_callback(page.close)
        await stack.enter_async_context(page.server)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(page.follow)
        heard = [number for number in _ENDS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
        with anyio.open_signal_receiver(*heard) as signals:
            ready(page.server.link)
            async for _ in signals:
                tasks.cancel_scope.cancel()
                return


class _ReviewPage:
    """A ``Shelf`` and its one door.

    Args:
        paths: of the folder.
        reviews: of it.
        bound: where it is served.
        name: suggested to whoever has none yet.
    """

    def __init__(self, paths: Paths, reviews: Reviews, bound: Bound, name: str) -> None:
        self._paths, self._reviews, self._name = paths, reviews, name
        self._shelf = FolderShelf(paths, flagged=True, more=self._said_of)
        self._files = served_page("review.js", "live.css", "review.css")
        self._events = Tail(paths.events, at_end=True)
        self.server = Server(bound, self, {"review": self._review})

    async def close(self) -> None:
        """Release the ledger."""
        await self._shelf.close()

    async def follow(self) -> None:
        """Tell open pages what others said, by whatever way, and which images a run has made meanwhile."""
        feed = self.server.feed
        while True:
            await anyio.sleep(_EVERY_S)
            if not feed.is_read:
                continue
            try:
                about = await self._reviews.refresh()
                changed, anew = jobs_in(await anyio.to_thread.run_sync(self._events.news))
                if anew or len(about | changed) > _MOST_CHANGED:
                    feed.resync()
                elif about | changed:
                    feed.tell("jobs", [changes_of(entry) for entry in await self._shelf.some(sorted(about | changed))])
                feed.stand("trouble", {"message": ""})
            except FluxbatchError as error:  # a line that a merge left broken, say: it can be mended while we wait
                feed.stand("trouble", {"message": str(error)})

    async def _review(self, said: dict[str, Any]) -> dict[str, Any]:
        """Take down what somebody says, and tell all others. It is durable once this is answered."""
        one, name = _said(said)
        [answer] = await self._reviews.record([one], by=name)
        [entry] = await self._shelf.some([one.id]) or [{"id": one.id}]
        changes = changes_of(entry)
        if isinstance(answer, Refused):
            raise Shut(answer.why, job=changes)
        self.server.feed.tell("jobs", [changes])
        return {"job": changes}

    async def _said_of(self, record: Record) -> dict[str, Any]:
        """Of a row: its image, also while a new one is on its way, and how that stands."""
        reviewed = await self._reviews.of(record)
        if reviewed is None:
            return {}
        image = {"file": reviewed.file, "sha256": reviewed.sha256, **addresses(reviewed.id, 0, reviewed.sha256)}
        return {**image, "review": _standing(reviewed)}

    # ------------------------------------------------------------------------------------------------------- its shelf
    @property
    def files(self) -> Mapping[str, bytes]:
        """The page and its scripts."""
        return self._files

    async def about(self) -> dict[str, Any]:
        """What holds for all jobs."""
        return {**await self._shelf.about(), "name": self._name}

    async def jobs(self) -> AsyncGenerator[Sequence[dict[str, Any]], None]:
        """All jobs with what is said of their images."""
        await self._reviews.refresh()
        async for page in self._shelf.jobs():
            yield page

    async def more(self, job_id: str) -> dict[str, Any]:
        """The images of a job that gave way, the last one first."""
        shown = []
        for back, earlier in enumerate(reversed(await self._reviews.earlier(job_id)), 1):
            if earlier.file:
                version = addresses(job_id, -back, earlier.remake.sha256)
                said = {} if earlier.review is None else {"by": earlier.review.by, "note": earlier.review.note}
                shown.append({**version, "round": earlier.remake.round, "prompt": earlier.remake.prompt, **said})
        return {"earlier": shown}

    async def picture(self, job_id: str, place: int, *, small: bool) -> tuple[Path, str] | None:
        """The file of a picture and its MIME type."""
        if place >= 0:
            return await self._shelf.picture(job_id, place, small=small)
        earlier = await self._reviews.earlier(job_id)
        file = earlier[place].file if -place <= len(earlier) else ""
        return await self._shelf.shown(self._paths.out / file, small=small) if file else None


def _said(facts: dict[str, Any]) -> tuple[Said, str]:
    """What somebody says, and their name.

    Raises:
        UsageError: it is none.
    """
    texts = [facts.get(name, "") for name in ("id", "sha256", "note", "by")]
    after, verdict = facts.get("after"), facts.get("verdict")
    if not all(isinstance(text, str) for text in texts) or not isinstance(after, str | None):
        raise UsageError("this is no review")
    if verdict is not None and verdict not in list(Verdict):
        raise UsageError("there is no such verdict", remedy="it is approved, rejected or null")
    job_id, sha256, note, name = texts
    if not name.strip():
        raise UsageError("nobody says so", remedy="say who you are")
    return Said(job_id, sha256, None if verdict is None else Verdict(verdict), note, after), name


def _standing(reviewed: Reviewed) -> dict[str, Any]:
    review: Review | None = reviewed.review
    facts = {} if review is None else {"note": review.note, "by": review.by, "at": review.at}
    return {"standing": reviewed.standing.value, **facts}
