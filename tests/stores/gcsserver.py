"""A small server of Google's XML API for tests: it checks tokens and signatures, and counts generations.

As https://cloud.google.com/storage/docs/xml-api/overview has it, as far as a client of objects sees it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from aiohttp import web

from tests.stores.s3server import Asked, Kept, S3Server, error, path_of, serving_objects

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EMAIL = "night@fluxbatch-test.iam.gserviceaccount.com"
_EXPONENT = 65537
_SHA256_OF = bytes.fromhex("3031300d060960864801650304020105000420")
"""what PKCS #1 puts before a digest, to say of which kind it is"""


@dataclass(frozen=True)
class Account:
    """A service account: its key file, and what its signatures are checked by."""

    file: Path
    modulus: int

    @classmethod
    def make(cls, folder: Path, name: str = "account") -> Account:
        def openssl(*words: str) -> str:
            return subprocess.run(("openssl", *words), check=True, capture_output=True, text=True, timeout=60).stdout

        pem = folder / f"{name}.pem"
        openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(pem))
        modulus = int(openssl("rsa", "-in", str(pem), "-modulus", "-noout").partition("=")[2], 16)
        said = {
            "type": "service_account",
            "private_key": pem.read_text(),
            "private_key_id": "1",
            "client_email": EMAIL,
        }
        file = folder / f"{name}.json"
        file.write_text(json.dumps(said))
        return cls(file, modulus)

    def has_signed(self, data: bytes, signature: bytes) -> bool:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        length = (self.modulus.bit_length() + 7) // 8
        said = _SHA256_OF + hashlib.sha256(data).digest()
        wanted = b"\x00\x01" + b"\xff" * (length - len(said) - 3) + b"\x00" + said
        return pow(int.from_bytes(signature), _EXPONENT, self.modulus).to_bytes(length) == wanted


class GcsServer(S3Server):
    """The same as its base, in Google's words."""

    _refuses_by = 401

    def __init__(self, account: Account, bucket: str) -> None:
        super().__init__(bucket)
        self.account = account
        self._generation = 1_700_000_000_000_000

    @property
    def environment(self) -> dict[str, str]:
        return {"GOOGLE_BASE_URL": self.endpoint, "GOOGLE_APPLICATION_CREDENTIALS": str(self.account.file)}

    def put(self, key: str, data: bytes, **headers: str) -> Kept:
        self._generation += 1_000_003
        return super().put(key, data, **{**headers, "x-goog-generation": str(self._generation)})

    def _put(self, asked: Asked, body: bytes) -> web.Response:
        self.before_put(asked)
        there, headers = self.objects.get(asked.key), asked.headers
        generation = "0" if there is None else there.headers["x-goog-generation"]
        if headers.get("x-goog-if-generation-match", generation) != generation:
            return error(412, "PreconditionFailed")
        said = {k: v for k, v in headers.items() if k.startswith("x-goog-meta-") or k == "content-type"}
        kept = self.put(asked.key, body, **said)
        return web.Response(headers={"ETag": kept.etag, "x-goog-generation": kept.headers["x-goog-generation"]})

    def _delete(self, asked: Asked, body: bytes) -> web.Response:
        return super()._delete(asked, body) if asked.key in self.objects else error(404, "NoSuchKey")

    def _listed(self, key: str, kept: Kept) -> str:
        return f"{super()._listed(key, kept)}<Generation>{kept.headers['x-goog-generation']}</Generation>"

    def _unsigned(self, request: web.Request, asked: Asked, body: bytes) -> str:
        del body
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer":
            return "" if self._is_token(token) else "AuthenticationRequired"
        return "" if "X-Goog-Signature" in asked.query and self._is_signed(request, asked) else "AccessDenied"

    def _is_token(self, token: str) -> bool:
        """Whether it is a JWT that the account signed for itself, as https://google.aip.dev/auth/4111 says."""
        signed, _, signature = token.rpartition(".")
        head, claims = (json.loads(_from_base64(part)) for part in signed.split("."))
        now = datetime.now(UTC).timestamp()
        return bool(
            (head["alg"], head["kid"], claims["iss"], claims["sub"]) == ("RS256", "1", EMAIL, EMAIL)
            and claims["scope"].startswith("https://www.googleapis.com/auth/")
            and claims["iat"] <= now + 1 <= claims["exp"] <= claims["iat"] + 3600
            and self.account.has_signed(signed.encode(), _from_base64(signature))
        )

    def _is_signed(self, request: web.Request, asked: Asked) -> bool:
        """Whether the account signed for this URL (https://cloud.google.com/storage/docs/authentication/signatures)."""
        query = dict(asked.query)
        signature = bytes.fromhex(query.pop("X-Goog-Signature"))
        stamp, email_and_scope = query["X-Goog-Date"], query["X-Goog-Credential"]
        email, _, scope = email_and_scope.partition("/")
        begun = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        canonical = "\n".join(
            [
                asked.method,
                quote(unquote(path_of(request)), safe="/~"),
                "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted(query.items())),
                "host:storage.googleapis.com",  # which this server stands in for
                "",
                query["X-Goog-SignedHeaders"],
                "UNSIGNED-PAYLOAD",
            ]
        )
        said = f"GOOG4-RSA-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        return (
            email == EMAIL
            and scope == f"{stamp[:8]}/auto/storage/goog4_request"
            and datetime.now(UTC) <= begun + timedelta(seconds=int(query["X-Goog-Expires"]))
            and self.account.has_signed(said.encode(), signature)
        )


def _from_base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@contextmanager
def gcs_serving(account: Account, bucket: str) -> Iterator[GcsServer]:
    """A server on a thread of its own."""
    server = GcsServer(account, bucket)
    with serving_objects(server):
        yield server
