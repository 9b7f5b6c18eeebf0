"""The command line in a process of its own, without the half second that Python takes to begin.

A process that has imported everything waits for command lines and forks for each. What it forks has its own
environment, folder and streams, and ends as any other. What is about starting (``PYTHON…`` variables too), signals or
memory takes a fresh one.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_REPO = Path(__file__).parents[2]
_LONGEST = 1 << 20


class Warm:
    """Runs command lines, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LONGEST)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=_REPO,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        atexit.register(self.close)

    def run(
        self, args: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As ``subprocess.run`` would, with nothing on stdin and no terminal."""
        said = json.dumps({"args": list(args), "cwd": str(cwd), "env": dict(env)}).encode()
        with self._lock, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            socket.send_fds(self._socket, [said], [stdout.fileno(), stderr.fileno()])
            pid = self._hear()
            self._socket.settimeout(timeout)
            try:
                code = self._hear()
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self._socket.settimeout(None)
                self._hear()  # its end, which the next command must not take for its own
                raise
            finally:
                self._socket.settimeout(None)
            texts = [_text(file.fileno()) for file in (stdout, stderr)]
        return subprocess.CompletedProcess(list(args), code, *texts)

    def _hear(self) -> int:
        said = self._socket.recv(64)
        assert said, "the warm process is gone"
        return int(said)

    def close(self) -> None:
        """Have the process end."""
        self._socket.close()
        self._process.wait(timeout=10)


@cache
def warm() -> Warm:
    """The one of this process."""
    return Warm()


def _text(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


def _serve(requests: socket.socket) -> None:
    import fluxbatch  # here alone: the tests decide for themselves when to import it

    for module in pkgutil.walk_packages(fluxbatch.__path__, "fluxbatch."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    while True:
        said, descriptors, _, _ = socket.recv_fds(requests, _LONGEST, 2)
        if not said:
            return
        child = os.fork()
        if not child:
            requests.close()
            _become(json.loads(said), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        requests.send(str(child).encode())
        requests.send(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _become(request: dict[str, object], descriptors: list[int]) -> None:
    """Run a command line in this process, and end it."""
    from fluxbatch.cli import main

    for descriptor, stream in zip(descriptors, (1, 2), strict=True):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    environment, args = request["env"], request["args"]
    assert isinstance(environment, dict)
    assert isinstance(args, list)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(str(request["cwd"]))
    sys.argv = ["fluxbatch", *args]
    main()


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
