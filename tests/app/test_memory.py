"""Memory doesn't notice the photos: whole requests of 160 MB, sixteen at a time, through the simulator."""

from __future__ import annotations

import json
import os
import platform
import random
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.app.stage import KEY, command, results

if TYPE_CHECKING:
    from pathlib import Path

PEAK_MB = 70

# A small process in between: the peak that Linux reports for a child begins at the size of the process that forked it.
MEASURED = (
    sys.executable,
    "-c",
    (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    ),
)


def noise_png(path: Path, seed: int, width: int = 2560, height: int = 2000) -> None:
    """A photo of 15 MB: noise doesn't compress, so it is stored."""
    noise = random.Random(seed)
    rows = b"".join(b"\0" + noise.randbytes(width * 3) for _ in range(height))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b""))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixteen_requests_of_eight_photos_of_15_mb(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(8)]
    for number, name in enumerate(names):
        noise_png(tmp_path / name, number)
    rows = [
        {"id": f"job-{n}", "prompt": "x", "model": "flux-2-max", "images": names, "size": "256x256"} for n in range(16)
    ]
    (tmp_path / "jobs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    environment = {**os.environ, "FLUXBATCH_SIMULATOR_KEY": KEY, "FLUXBATCH_API_KEY": KEY}
    serve = command("simulate", "--port", "0", "--ready-json", "--until-stdin-closes", "--max-body-mb", "256")
    with subprocess.Popen(serve, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["base_url"]
        run = command("run", "jobs.jsonl", "--base-url", url, "--concurrency", "16", "-q")
        done = subprocess.run([*MEASURED, *run], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, check=True)
        server.communicate()

    assert [line["status"] for line in results(tmp_path / "jobs-out")] == ["stored"] * 16
    assert int(done.stdout) / 1024 < PEAK_MB


HELD_BACK = """
from fluxbatch.adapters.allocator import give_back

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

blocks = [bytes(2048) for _ in range(30_000)]
del blocks[:-1]  # the last one holds the end of the heap in place
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the heap of another C library")
def test_free_memory_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", HELD_BACK], stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) > 20 << 20
