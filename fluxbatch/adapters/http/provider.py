"""The ``Provider`` port on a synchronous images API: one POST, one answer, one image."""

from __future__ import annotations

import re
import secrets
import tempfile
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Final

import aiohttp
import anyio.to_thread
import pybase64

from fluxbatch.adapters.http.answer import AnswerReader, TooLarge, decode_base64
from fluxbatch.adapters.http.body import RequestBody, UploadGate, segments
from fluxbatch.adapters.http.losses import words_of
from fluxbatch.adapters.http.patience import Patience
from fluxbatch.adapters.http.reply import complaint_of, find_image, http_date, request_id_of
from fluxbatch.errors import StorageError, UsageError
from fluxbatch.model.answer import Granted, Inline, Refused, Verdict
from fluxbatch.policy.deadlines import lease_of
from fluxbatch.policy.verdict import Complaint, Loss, judge, judge_loss
from fluxbatch.telemetry.redact import clean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from yarl import URL

    from fluxbatch.adapters.http.connect import Network
    from fluxbatch.adapters.http.reply import Found
    from fluxbatch.model.answer import Answer
    from fluxbatch.model.job import Lease, PlannedJob
    from fluxbatch.ports import Clock, Source
    from fluxbatch.settings import Settings

__all__ = ["GatewayProvider"]

_MOST_PLAIN: Final = 64 * 1024
"""bytes that are read of an answer that is no JSON"""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class _Heard:
    """An answer as it was read.

    Attributes:
        lost: what broke it off, empty if nothing did.
        early: it began before the whole request was sent.
    """

    status: int
    headers: Mapping[str, str]
    lost: str
    early: bool


class GatewayProvider:
    """``POST {base}/images/generations`` with a bearer key; takes ``url`` and ``b64_json`` answers.

    Args:
        base_url: checked by ``check_base_url``.
        key: sent to this host alone, never logged.
        network, source, clock: as their ports say.
        spool: a folder for images that come in the answer itself, on the sink's filesystem.
        settings: time-outs and caps.

    Raises:
        UsageError: the key is none that could be sent.
    """

    def __init__(  # what it needs of the outside, each once
        self,
        base_url: URL,
        key: str,
        *,
        network: Network,
        source: Source,
        clock: Clock,
        spool: Path,
        settings: Settings,
    ) -> None:
        if _CONTROL.search(key):
            raise UsageError("the API key holds a control character, maybe a line break", remedy="copy it once more")
        self._url = base_url / "images/generations"
        self._key = key
        self._proxy = network.proxy(self._url)
        self._session = network.api_session()
        self._source = source
        self._clock = clock
        self._spool = spool
        self._settings = settings
        self._gate = UploadGate()

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def generate(self, job: PlannedJob) -> Answer:
        """Send one request and wait for its answer."""
        reader = AnswerReader(self._make_spool, cap=self._settings.max_answer_bytes)
        try:
            heard = await self._exchange(job, reader)
            # the answer is here: no clock runs any more that could take it away
            return Refused(heard) if isinstance(heard, Verdict) else await self._interpret(heard, reader)
        finally:
            if reader.spooled is not None:
                reader.spooled.close()

    async def _exchange(self, job: PlannedJob, reader: AnswerReader) -> _Heard | Verdict:
        """Send the request and read its answer, as long as there is progress."""
        with Patience(self._settings.upload_stall_s) as patience:
            body = RequestBody(segments(job), self._source, self._gate, lambda sent: self._extend(patience, sent=sent))
            try:
                response = await self._post(body)
                early = not body.complete
                try:
                    lost = await self._read(response, reader, patience)
                finally:
                    body.forget_rest()
            except (aiohttp.ClientError, OSError) as error:
                if body.error is not None:
                    raise body.error from None
                return judge_loss(_loss_of(error, body), self._clean(words_of(error)))
            return _Heard(response.status, response.headers, lost, early)
        body.abort()
        if body.error is not None:
            raise body.error
        if body.complete:
            return judge_loss(Loss.TIMEOUT, f"no answer within {self._settings.request_timeout_s:g} s of sending")
        return judge_loss(Loss.UPLOAD, f"no progress in sending for {self._settings.upload_stall_s:g} s")

    def _extend(self, patience: Patience, *, sent: bool) -> None:
        patience.last(self._settings.request_timeout_s if sent else self._settings.upload_stall_s)

    async def _post(self, body: RequestBody) -> aiohttp.ClientResponse:
        return await self._session.post(
            self._url,
            data=body,
            headers={"Authorization": f"Bearer {self._key}", "Accept": "application/json"},
            allow_redirects=False,
            proxy=self._proxy.url,
            proxy_headers=self._proxy.headers,
        )

    async def _read(self, response: aiohttp.ClientResponse, reader: AnswerReader, patience: Patience) -> str:
        """Read until the JSON is complete. What broke the answer off, empty if nothing did."""
        read = 0
        try:
            while not response.content.at_eof():
                piece = await response.content.readany()
                read += len(piece)
                if self._feed(reader, piece) or (read > _MOST_PLAIN and not reader.is_json):
                    break
                if reader.is_json:
                    # an image inside the answer may take longer to arrive than an answer may keep us waiting
                    patience.last_at_least(self._settings.download_stall_s)
        except TooLarge:
            return f"the answer is larger than {self._settings.max_answer_bytes >> 20} MB"
        except (aiohttp.ClientError, OSError) as error:
            return f"the answer broke off: {words_of(error)}"
        finally:
            # what the connection still does is of no interest: with the end not seen, it is closed, not reused
            if response.content.at_eof():
                response.release()
            else:
                response.close()
        return "" if reader.complete or not reader.is_json else "the answer broke off in the middle"

    def _feed(self, reader: AnswerReader, piece: bytes) -> bool:
        try:
            return reader.feed(piece)
        except OSError as error:
            raise self._no_room(error) from error

    async def _interpret(self, heard: _Heard, reader: AnswerReader) -> Answer:
        headers, status = heard.headers, heard.status
        request_id = request_id_of(headers, secrets=(self._key,))
        value = _value(reader) if reader.complete else None
        found = find_image(value, reader) if 200 <= status < 300 else None
        if found is None:
            now = self._clock.now()
            complaint = complaint_of(status, headers, reader, value, now=now, secrets=(self._key,))
            if heard.lost:
                complaint = replace(complaint, message=self._clean(heard.lost))
            return Refused(judge(replace(complaint, early=heard.early)), request_id)
        if found.url:
            return Granted(self._lease(found.url, headers, request_id))
        return await self._inline(found, reader, status, request_id)

    def _lease(self, url: str, headers: Mapping[str, str], request_id: str) -> Lease:
        date = http_date(headers.get("Date", ""))
        return lease_of(url, received_at=self._clock.now(), server_date=date, request_id=request_id)

    async def _inline(self, found: Found, reader: AnswerReader, status: int, request_id: str) -> Answer:
        def decode() -> Path:
            # as readable as any other output will be: a NamedTemporaryFile would be its owner's alone
            path = self._spool / f"{secrets.token_hex(8)}.image"
            with path.open("xb") as target:
                try:
                    if found.spooled and reader.spooled is not None:
                        decode_base64(reader.spooled, target)
                    else:
                        text = found.text.partition(",")[2] if found.text.startswith("data:") else found.text
                        target.write(pybase64.b64decode("".join(text.split()), validate=True))
                except BaseException:
                    path.unlink(missing_ok=True)
                    raise
            return path

        try:
            return Inline(await anyio.to_thread.run_sync(decode), request_id)
        except ValueError as error:
            return Refused(
                judge(Complaint(status, message=f"the image in the answer is no base64: {error}")), request_id
            )
        except OSError as error:
            raise self._no_room(error) from error

    def _make_spool(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._spool)

    def _no_room(self, error: OSError) -> StorageError:
        return StorageError(
            f"an image came in an answer, and can't be kept in {self._spool}: {error.strerror or error}",
            remedy="free space or mend the folder, then run the same command again",
        )

    def _clean(self, text: str) -> str:
        return clean(text, secrets=(self._key,))


def _value(reader: AnswerReader) -> Any:
    try:
        return reader.value()
    except ValueError:
        return None


def _loss_of(error: Exception, body: RequestBody) -> Loss:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return Loss.CERTIFICATE
        case aiohttp.ClientConnectorError() | aiohttp.ClientHttpProxyError() | aiohttp.ConnectionTimeoutError():
            return Loss.CONNECT
        case _:
            return Loss.LOST if body.complete else Loss.UPLOAD
