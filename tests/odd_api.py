"""An API that makes what it should not: each prompt says what. The image comes in the answer itself."""

from __future__ import annotations

import base64
import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterator


def noise(width: int, height: int, *, seed: int = 0, kind: str = "JPEG") -> bytes:
    """A picture that shows something."""
    picture = Image.effect_noise((width, height), 60 + seed).convert("RGB")
    return encoded(picture, kind)


def plain(width: int, height: int, colour: str, *, kind: str = "JPEG") -> bytes:
    return encoded(Image.new("RGB", (width, height), colour), kind)


def encoded(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, quality=95)
    return file.getvalue()


TWIN = noise(256, 256, seed=9)


def made(order: dict[str, Any]) -> bytes:
    """``plain #102030``, ``size 512x768``, ``echo`` (of image 1), ``twin``; anything else is as it should be."""
    word, _, more = order["prompt"].partition(" ")
    match word:
        case "plain":
            return plain(1024, 1024, more)
        case "size":
            width, _, height = more.partition("x")
            return noise(int(width), int(height))
        case "echo":
            return base64.b64decode(order["input_image"].partition(",")[2])
        case "twin":
            return TWIN
        case _:
            return noise(256, 256, seed=len(order["prompt"]))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps({"data": [{"b64_json": base64.b64encode(made(order)).decode()}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's own word
        """Nothing: the tests' output is for the tests."""


@contextmanager
def odd_api() -> Iterator[dict[str, str]]:
    """Serve it; what to put into the environment of a run."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        base_url = f"http://127.0.0.1:{server.server_port}/v1"
        yield {"FLUXBATCH_API_KEY": "sk-of-the-odd-one", "FLUXBATCH_BASE_URL": base_url}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
