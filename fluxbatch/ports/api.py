"""An image API, and the hosts from which its results come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fluxbatch.model.answer import Answer
    from fluxbatch.model.job import Lease, PlannedJob
    from fluxbatch.ports.sink import Landing

__all__ = ["Fetcher", "Provider"]


class Provider(Protocol):
    """An image API."""

    async def generate(self, job: PlannedJob) -> Answer:
        """Send one request and wait for its answer.

        Every outcome of the API or the network is an ``Answer``; nothing is retried here. Cancelling after the last
        byte of the body was sent throws a paid image away, so callers do it only when the user insists.

        Raises:
            PhotoError: a photo can't be read or is not the file that was checked (``PhotoChanged``); the request
                was not completed, so nothing was billed.
            StorageError: an image in the answer could not be kept.
        """
        ...


class Fetcher(Protocol):
    """Brings results from delivery hosts."""

    async def fetch(self, lease: Lease, landing: Landing) -> None:
        """Transfer the result into the landing, going on where an earlier try broke off if the host allows it.

        The URL is sent byte for byte; no credentials go along. May be called again with the same landing.

        Raises:
            DeliveryError: this try failed; ``refused`` if the host says that there is nothing (or nothing any more).
            StorageError: from the landing.
        """
        ...
