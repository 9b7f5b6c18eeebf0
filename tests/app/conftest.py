from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def readonly(tmp_path: Path) -> tuple[str, ...]:
    """A command by which others are started for whom the folder is on a filesystem that nobody can write."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare: only Linux has filesystems that one may mount for oneself")
    options = ["--mount", "--propagation", "private", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && exec "$@"'
    via = ("unshare", *options, "sh", "-c", mount, str(tmp_path))
    tried = subprocess.run([*via, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine lets nobody mount a folder: {tried.stderr}")
    return via
