"""A small S3 server for tests: it checks signatures (version 4), holds to conditions, and fails on request."""

from __future__ import annotations

import hashlib
import hmac
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote
from xml.sax.saxutils import escape

import anyio
from aiohttp import web
from anyio.from_thread import start_blocking_portal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY, SECRET, REGION = "AKTESTSTORES", "a/secret+of/the=tests", "us-east-1"
_SIGNED = re.compile(r"AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=(\w+)")


@dataclass
class Kept:
    data: bytes
    etag: str
    modified: datetime
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """A request that came."""

    method: str
    key: str
    headers: dict[str, str]
    query: dict[str, str]


class S3Server:
    """One bucket. May be changed from the test's own thread at any time.

    Attributes:
        objects: by key.
        asked: all requests, refused ones too.
        conditional: hold to If-None-Match and If-Match on PUT; else ignore them.
        refuses_conditions: refuse such requests instead.
        opaque: give ETags that are no digests, as for encrypted objects.
        fault: says of a request what goes wrong with it: a status, seconds to wait, or "cut".
        before_put: may change a request once it is found to be in order.
        cut_after_put: so many objects are written without an answer.
    """

    _refuses_by = 403

    def __init__(self, bucket: str = "pictures") -> None:
        self.bucket = bucket
        self.objects: dict[str, Kept] = {}
        self.asked: list[Asked] = []
        self.conditional = True
        self.refuses_conditions = False
        self.opaque = False
        self.fault: Callable[[Asked], int | float | str | None] = lambda _: None
        self.before_put: Callable[[Asked], None] = lambda _: None
        self.cut_after_put = 0
        self.port = 0
        self._puts = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
        }

    def count(self, method: str, key: str = "") -> int:
        """Requests of a method for keys that begin like this."""
        return sum(one.method == method and one.key.startswith(key) for one in self.asked)

    def put(self, key: str, data: bytes, **headers: str) -> Kept:
        """Write an object, a second later than the one before."""
        self._puts += 1
        etag = hashlib.md5(data).hexdigest()
        if self.opaque:
            etag = hashlib.sha256(f"{self._puts}".encode() + data).hexdigest()[:32]
        modified = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=self._puts)
        kept = self.objects[key] = Kept(data, f'"{etag}"', modified, headers)
        return kept

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = unquote(path_of(request))
        bucket, _, key = path.lstrip("/").partition("/")
        query = dict(parse_qsl(request.query_string, keep_blank_values=True))
        asked = Asked(request.method, key, {k.lower(): v for k, v in request.headers.items()}, query)
        self.asked.append(asked)
        body = await request.read()
        fault = self.fault(asked)
        if fault == "cut":
            assert request.transport is not None
            request.transport.abort()
        if isinstance(fault, int):
            return error(fault, "SlowDown" if fault == 503 else "Fault")
        if isinstance(fault, float):
            await anyio.sleep(fault)
        refusal = self._unsigned(request, asked, body)
        if refusal:
            return error(self._refuses_by, refusal)
        if bucket != self.bucket:
            return error(404, "NoSuchBucket")
        answer: web.StreamResponse = getattr(self, f"_{request.method.lower()}")(asked, body)
        if asked.method == "PUT" and answer.status == 200 and self.cut_after_put:
            self.cut_after_put -= 1
            assert request.transport is not None
            request.transport.abort()
        return answer

    def _put(self, asked: Asked, body: bytes) -> web.Response:
        self.before_put(asked)
        there, headers = self.objects.get(asked.key), asked.headers
        if self.refuses_conditions and not headers.keys().isdisjoint({"if-match", "if-none-match"}):
            return error(501, "NotImplemented")
        if self.conditional:
            if headers.get("if-none-match") == "*" and there is not None:
                return error(412, "PreconditionFailed")
            if "if-match" in headers and there is None:
                return error(404, "NoSuchKey")
            if there is not None and headers.get("if-match", there.etag) != there.etag:
                return error(412, "PreconditionFailed")
        said = {k: v for k, v in headers.items() if k.startswith("x-amz-meta-") or k == "content-type"}
        return web.Response(headers={"ETag": self.put(asked.key, body, **said).etag})

    def _get(self, asked: Asked, _: bytes) -> web.Response:
        if not asked.key:
            return self._list(asked)
        there = self.objects.get(asked.key)
        if there is None:
            return error(404, "NoSuchKey")
        if asked.headers.get("if-match", there.etag) != there.etag:
            return error(412, "PreconditionFailed")
        modified = there.modified.strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"ETag": there.etag, "Last-Modified": modified, **there.headers}
        return web.Response(body=there.data, headers=headers)

    _head = _get

    def _delete(self, asked: Asked, _: bytes) -> web.Response:
        self.objects.pop(asked.key, None)
        return web.Response(status=204)

    def _list(self, asked: Asked) -> web.Response:
        prefix, after = asked.query.get("prefix", ""), asked.query.get("continuation-token", "")
        names = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        page, rest = names[:1000], names[1000:]
        items = "".join(f"<Contents>{self._listed(key, self.objects[key])}</Contents>" for key in page)
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        text = f"<ListBucketResult><IsTruncated>{str(bool(rest)).lower()}</IsTruncated>{more}{items}</ListBucketResult>"
        return web.Response(text=text, content_type="application/xml")

    def _listed(self, key: str, kept: Kept) -> str:
        return (
            f"<Key>{escape(key)}</Key><Size>{len(kept.data)}</Size><ETag>{escape(kept.etag)}</ETag>"
            f"<LastModified>{kept.modified:%Y-%m-%dT%H:%M:%S.000Z}</LastModified>"
        )

    def _unsigned(self, request: web.Request, asked: Asked, body: bytes) -> str:
        """Why a request is refused; empty if it is signed as it should be."""
        query = dict(asked.query)
        if "X-Amz-Signature" in query:
            given, credential = query.pop("X-Amz-Signature"), query["X-Amz-Credential"]
            names, stamp, digest = query["X-Amz-SignedHeaders"], query["X-Amz-Date"], "UNSIGNED-PAYLOAD"
            begun = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            if datetime.now(UTC) > begun + timedelta(seconds=int(query["X-Amz-Expires"])):
                return "AccessDenied"
        else:
            found = _SIGNED.fullmatch(asked.headers.get("authorization", ""))
            if not found:
                return "AccessDenied"
            credential, names, given = found.groups()
            stamp, digest = asked.headers["x-amz-date"], asked.headers["x-amz-content-sha256"]
            if digest != hashlib.sha256(body).hexdigest():
                return "XAmzContentSHA256Mismatch"
        key, _, scope = credential.partition("/")
        if key != KEY:
            return "InvalidAccessKeyId"
        canonical = "\n".join(
            [
                asked.method,
                quote(unquote(path_of(request)), safe="/~"),
                "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(query.items())),
                *(f"{name}:{asked.headers.get(name, '').strip()}" for name in names.split(";")),
                "",
                names,
                digest,
            ]
        )
        signed = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        secret = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            secret = hmac.digest(secret, part.encode(), "sha256")
        wanted = hmac.digest(secret, signed.encode(), "sha256").hex()
        return "" if hmac.compare_digest(wanted, given) else "SignatureDoesNotMatch"


def path_of(request: web.Request) -> str:
    """As it was written; a client that takes this server for a proxy writes the whole address."""
    return re.sub("^http://[^/]*", "", request.raw_path.partition("?")[0])


def error(status: int, code: str) -> web.Response:
    # as chatty as the real ones, which tell the key and all that was to be signed
    text = f"<Error><Code>{code}</Code><AWSAccessKeyId>{KEY}</AWSAccessKeyId><StringToSign>x</StringToSign></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")


@contextmanager
def s3_serving() -> Iterator[S3Server]:
    """A server on a thread of its own."""
    server = S3Server()
    with serving_objects(server):
        yield server


@contextmanager
def serving_objects(server: S3Server) -> Iterator[None]:
    """Let a server answer, on a thread of its own."""

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", server.handle)
        runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.port = runner.addresses[0][1]
        return runner

    with start_blocking_portal() as portal:
        runner = portal.call(start)
        try:
            yield
        finally:
            portal.call(runner.cleanup)
