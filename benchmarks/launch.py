"""Run one command and write down what it took: ``python -I -S launch.py RESULT SECONDS COMMAND…``

A process of its own, and a tiny one: Linux counts the memory of whoever starts a process towards its peak.
"""

import os
import signal
import sys
import time
from types import FrameType


def main() -> None:
    result, seconds, *command = sys.argv[1:]
    begun = time.monotonic()
    pid = os.posix_spawn(command[0], command, os.environ)

    def kill(_: int, __: FrameType | None) -> None:
        os.kill(pid, signal.SIGKILL)

    for number in (signal.SIGALRM, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, kill)
    signal.alarm(int(seconds))
    _, status, used = os.wait4(pid, 0)
    signal.alarm(0)
    wall_s = time.monotonic() - begun
    peak = used.ru_maxrss if sys.platform == "darwin" else used.ru_maxrss * 1024
    exit_code = os.waitstatus_to_exitcode(status)
    line = (
        f'{{"exit_code": {exit_code}, "user_s": {used.ru_utime:f}, "sys_s": {used.ru_stime:f}, '
        f'"peak_bytes": {peak}, "wall_s": {wall_s:f}}}'
    )
    with open(result, "w", encoding="ascii") as file:  # noqa: PTH123  # pathlib would only make this process larger
        file.write(line)


main()
