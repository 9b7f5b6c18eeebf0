"""The same watch on a loop that has nothing to do: what this machine adds by itself."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Final

from benchmarks.probes.lag import Watch

_SECONDS: Final = 1.0


async def main() -> None:
    watch = Watch(asyncio.get_running_loop(), 1)
    watch.look()
    await asyncio.sleep(_SECONDS)  # noqa: TID251  # nothing else is imported here
    notes = {"before_s": [0.0], "during_s": watch.before, "most_in_flight": 0}
    Path(sys.argv[1]).with_name("lag.json").write_text(json.dumps(notes), encoding="ascii")  # the end


if __name__ == "__main__":
    asyncio.run(main())
