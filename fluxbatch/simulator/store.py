"""The data folder: secret, results, ports. Blocking: call it in a thread.

lock        held while a simulator uses the folder
secret      signs the URLs, so that they outlive a restart
ports.json  the ports used last
calls.jsonl a line for each billed call
results/    the images, and for each a .json with its headers
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

KEEP_AFTER_DEADLINE_S = 3600
"""Results are deleted this long after their URL has expired."""


class SimulatorError(Exception):
    """The simulator can't start."""


class FolderInUseError(SimulatorError):
    """Another simulator has the data folder."""


@dataclass(frozen=True, slots=True)
class Result:
    """A stored image with the headers that it is served with."""

    name: str
    """Folder and file of its URL: `<id>/sample.jpeg`."""
    mime: str
    size: int
    md5: str
    """Base64, as in Content-MD5."""
    etag: str
    created: int
    deadline: int
    """Epoch seconds, both."""


class DataFolder:
    """Owns one data folder; None makes a temporary one that is removed by `close`."""

    def __init__(self, path: Path | None) -> None:
        """Nothing is touched before `open`."""
        self._temporary = path is None
        self._given = path
        self._lock = -1
        self.path = Path()

    def open(self) -> bytes:
        """Take the folder and return its signing secret.

        :raises FolderInUseError: another simulator has it.
        """
        self.path = Path(tempfile.mkdtemp(prefix="fluxbatch-simulator-")) if self._given is None else self._given
        (self.path / "results").mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise FolderInUseError(f"{self.path} is in use by another simulator") from error
        return self._secret()

    def close(self) -> None:
        """Let go of the folder; a temporary one is removed."""
        os.close(self._lock)
        if self._temporary:
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def calls(self) -> Path:
        """The call log."""
        return self.path / "calls.jsonl"

    def last_ports(self) -> dict[str, int]:
        """`port` and `delivery_port` of the last time; empty if unknown."""
        try:
            ports = json.loads((self.path / "ports.json").read_bytes())
            return {str(name): int(port) for name, port in ports.items() if port}
        except (OSError, ValueError, AttributeError):
            return {}

    def remember_ports(self, port: int, delivery_port: int) -> None:
        """Keep the ports for the next start."""
        _write(self.path / "ports.json", json.dumps({"port": port, "delivery_port": delivery_port}).encode())

    def save(self, name: str, data: bytes, *, mime: str, created: int, deadline: int) -> Result:
        """Store an image; its side file comes last, so that what has one is whole."""
        digest = hashlib.md5(data, usedforsecurity=False).digest()
        etag = f'"0x8D{digest.hex()[:12].upper()}"'
        result = Result(name, mime, len(data), base64.b64encode(digest).decode(), etag, created, deadline)
        path = self._file(name)
        _write(path, data)
        _write(path.with_suffix(".json"), json.dumps(asdict(result)).encode())
        return result

    def find(self, name: str) -> Result | None:
        """What is known of a stored image, None if there is none."""
        try:
            fields: dict[str, Any] = json.loads(self._file(name).with_suffix(".json").read_bytes())
        except OSError:
            return None
        return Result(**fields)

    def read(self, result: Result) -> bytes:
        """The bytes of a stored image."""
        return self._file(result.name).read_bytes()

    def sweep(self, now: float) -> int:
        """Delete what expired long ago; how many images that were."""
        gone = 0
        for side in (self.path / "results").glob("*.json"):
            fields = json.loads(side.read_bytes())
            if fields["deadline"] + KEEP_AFTER_DEADLINE_S < now:
                self._file(fields["name"]).unlink(missing_ok=True)
                side.unlink(missing_ok=True)
                gone += 1
        return gone

    def _file(self, name: str) -> Path:
        # names were signed by us, but a path from outside is never used as one
        safe = "".join(character for character in name.replace("/", "-") if character.isalnum() or character in "-.")
        return self.path / "results" / safe

    def _secret(self) -> bytes:
        path = self.path / "secret"
        try:
            secret = path.read_bytes()
        except FileNotFoundError:
            secret = b""
        if len(secret) < 32:
            secret = secrets.token_bytes(32)
            _write(path, secret)
        return secret


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, for whoever reads it later; private to the user."""
    temporary = path.with_name(f"{path.name}.tmp")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(path)
