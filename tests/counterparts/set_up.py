"""Set up the programs that tests meet and that nobody here wrote, in folders of their own: `make counterparts`.

Each pins what fluxbatch needs in other versions, so none of them goes into ``.venv``. What can't be set up (no network,
no npm) is said, and its tests are skipped; it is tried again the next time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".counterparts"
LONGEST_S = 600
PATIENCE = {"PIP_RETRIES": "1", "NPM_CONFIG_FETCH_RETRIES": "1", "UV_HTTP_RETRIES": "1"}
"""without a network, nobody wants to wait for the last of five retries"""


@dataclass(frozen=True)
class Counterpart:
    """A program from a lock file; ``kind``: what installs it."""

    name: str
    kind: str
    lock: Path

    @property
    def folder(self) -> Path:
        return HOME / self.name

    @property
    def programs(self) -> Path:
        return self.folder / ("bin" if self.kind == "python" else "node_modules/.bin")

    @property
    def version(self) -> str:
        """What a folder must have been made from to be used."""
        return f"{hashlib.sha256(self.lock.read_bytes()).hexdigest()} {sys.base_prefix} {sys.version}"

    @property
    def ready(self) -> bool:
        stamp = self.folder / ".ready"
        return stamp.exists() and stamp.read_text() == self.version

    def set_up(self) -> str:
        """Make the folder anew; the reason why that was not possible, empty if it was."""
        if self.ready:
            return ""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        try:
            for command in self._in_python() if self.kind == "python" else self._in_node():
                self._run(command)
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
        (self.folder / ".ready").write_text(self.version)
        return ""

    def _in_python(self) -> list[list[str]]:
        lock, python = str(self.lock), str(self.folder / "bin" / "python")
        if uv := shutil.which("uv"):
            install = [uv, "pip", "install", "-q", "--python", python, "--no-deps", "--require-hashes", "-r", lock]
            return [[uv, "venv", "-q", "--clear", "--python", sys.executable, str(self.folder)], install]
        install = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--require-hashes", "-r", lock]
        return [[sys.executable, "-m", "venv", str(self.folder)], install]

    def _in_node(self) -> list[list[str]]:
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            raise FileNotFoundError("there is no npm on this machine")
        for name in ("package.json", "package-lock.json"):
            shutil.copy(self.lock.with_name(name), self.folder)
        return [[npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]]

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, **PATIENCE},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        if done.returncode:
            log = self.folder.with_suffix(".log")
            log.write_text(done.stdout)
            told = [line for line in done.stdout.splitlines() if "error" in line.lower() and len(line.split()) > 2]
            raise OSError(f"{told[0] if told else command[0]} (more in {log})")


LITELLM = Counterpart("litellm", "python", HERE / "litellm.txt")
MITMPROXY = Counterpart("mitmproxy", "python", HERE / "mitmproxy.txt")
NODE = Counterpart("node", "node", HERE / "package-lock.json")
ALL = (LITELLM, MITMPROXY, NODE)


def main() -> int:
    """Set up what is missing, side by side."""
    missing = [one for one in ALL if not one.ready]
    if missing:
        names = ", ".join(one.name for one in missing)
        sys.stderr.write(f"Setting up {names} in {HOME.name} (a minute, the first time) ...\n")
    with ThreadPoolExecutor(len(ALL)) as threads:
        reasons = list(threads.map(Counterpart.set_up, missing))
    for one, reason in zip(missing, reasons, strict=True):
        if reason:
            sys.stderr.write(f"{one.name} could not be set up, its tests will be skipped: {reason}\n")
    return 1 if any(reasons) else 0


if __name__ == "__main__":
    sys.exit(main())
