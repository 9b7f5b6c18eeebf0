"""A visitor without a browser: says exactly what it is told to say."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Visitor:
    """Comes by a link; ``enter`` takes its token for the cookie."""

    link: str
    cookie: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.link).netloc

    def enter(self) -> Answer:
        parts = urlsplit(self.link)
        answer = self.ask("GET", f"/?{parts.query}")
        self.cookie = answer.headers.get("set-cookie", "").partition(";")[0]
        return answer

    def ask(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, to the very path that is said. Headers by name, ``_`` for ``-``."""
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True)
            said = {"Host": self.host, **({"Cookie": self.cookie} if self.cookie else {})}
            said |= {name.replace("_", "-"): value for name, value in (headers or {}).items()}
            if body is not None:
                said["Content-Length"] = str(len(body))
            for name, value in said.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, facts: Any, **headers: str) -> Answer:
        """As the page itself would."""
        said = {"Origin": f"http://{self.host}", "Content_Type": "application/json", **headers}
        return self.ask("POST", path, body=json.dumps(facts).encode(), headers=said)

    def jobs(self) -> list[dict[str, Any]]:
        answer = self.get("/jobs")
        assert answer.status == 200, answer
        return [job for line in answer.body.splitlines() for job in json.loads(line)]

    def listen(self) -> socket.socket:
        """An open stream of events that is read only by who reads this."""
        host, _, port = self.host.rpartition(":")
        stream = socket.create_connection((host, int(port)), timeout=20)
        stream.sendall(f"GET /events HTTP/1.1\r\nHost: {self.host}\r\nCookie: {self.cookie}\r\n\r\n".encode())
        return stream


def read_until(stream: socket.socket, words: bytes) -> bytes:
    """All that comes up to these words."""
    seen = b""
    while words not in seen:
        piece = stream.recv(65536)
        assert piece, f"{words!r} did not come: {seen[-500:]!r}"
        seen += piece
    return seen
