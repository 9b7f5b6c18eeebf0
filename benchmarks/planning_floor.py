"""The least that planning a catalogue can take: read the table, write down each request and a digest of it."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import orjson
from blake3 import blake3

SCENES = ("beach", "studio", "kitchen", "garden")


def main(folder: Path) -> None:
    with (folder / "products.csv").open(encoding="utf-8", newline="") as table, Path("/dev/null").open("wb") as out:
        for row in csv.DictReader(table):
            if int(row["stock"]) <= 0:
                continue
            for scene in SCENES:
                request = {
                    "id": f"{row['sku']}-{scene}",
                    "prompt": f"Place the {row['name']} from image 1 into the {scene} of image 2",
                    "images": ["product.jpg", f"{scene}.jpg"],
                    "meta": {"sku": row["sku"]},
                }
                body = orjson.dumps(request)
                out.write(body + blake3(body).digest())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
