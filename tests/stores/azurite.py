"""Azure's own emulator of its object store."""

from __future__ import annotations

import base64
import hmac
import re
import subprocess
import time
from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING

import requests

from tests.counterparts.programs import program
from tests.counterparts.set_up import NODE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOOL = program(NODE, "azurite-blob")
"""None if it is not there"""
ACCOUNT = "devstoreaccount1"
# the emulator's one and only, as its documentation gives it
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def emulator(home: Path, container: str, *, seconds: float = 30) -> Iterator[dict[str, str]]:
    """What the environment says of an emulator with one container."""
    assert TOOL is not None
    words = [TOOL, "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--blobPort", "0"]
    with (home / "azurite.out").open("wb") as out:
        process = subprocess.Popen(words, cwd=home, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        give_up_at = time.monotonic() + seconds
        while not (found := re.search(r"listens on (http://\S+)", (home / "azurite.out").read_text())):
            assert time.monotonic() < give_up_at, (home / "azurite.out").read_text()
            time.sleep(0.1)
        endpoint = f"{found[1]}/{ACCOUNT}"
        _make_container(endpoint, container)
        yield {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": endpoint,
        }
    finally:
        process.kill()
        process.wait()


def _make_container(endpoint: str, container: str) -> None:
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    said = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    signed = f"PUT{chr(10) * 12}{said}/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), signed.encode(), "sha256")).decode()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature}"
    answer = requests.put(f"{endpoint}/{container}?restype=container", headers=headers, timeout=10)
    assert answer.status_code == 201, answer.text
