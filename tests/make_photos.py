"""The small pictures of the examples, made from the photos or drawn: ``python tests/make_photos.py``.

Run again, it makes the same pictures. Sides are multiples of 16, so that the API crops nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS = Path(__file__).parents[1] / "jobs"
PHOTOS = JOBS / "photos"
SIDE = 256
FINER = 4

# What is to be seen of the astronaut: a box in person.jpg, and the size that it is brought to.
ASTRONAUT = {
    "face": ((145, 10, 305, 170), (256, 256)),
    "portrait": ((105, 5, 361, 261), (256, 256)),
    "collar": ((105, 140, 313, 300), (208, 160)),
    "chest": ((110, 256, 366, 512), (256, 256)),
    "patch": ((124, 340, 220, 436), (192, 192)),
    "sleeve": ((16, 288, 144, 480), (128, 192)),
    "helmet": ((272, 336, 512, 512), (240, 176)),
}


def main() -> None:
    with Image.open(PHOTOS / "person.jpg") as person:
        for name, (box, size) in ASTRONAUT.items():
            save(person.crop(box).resize(size, Image.Resampling.LANCZOS), f"references/astronaut/{name}.jpg")
    save(poster(PHOTOS / "launch.jpg"), "references/poster.jpg")
    save(mosaic(PHOTOS / "cat.webp"), "references/mosaic.jpg")
    with Image.open(PHOTOS / "cup.png") as cup:
        save(cup.convert("RGB").crop((48, 0, 400, 320)), "catalogue/photos/espresso-cup.jpg")
    for name, draw in PRODUCTS.items():
        save(product(draw), f"catalogue/photos/{name}.jpg")
    save(backdrop(), "catalogue/scenes/studio.jpg")
    save(product(wave).crop((64, 96, 192, 224)), "catalogue/photos/tea-bowl-detail.jpg")
    save(product(lantern).crop((64, 0, 192, 128)), "catalogue/photos/lantern-detail.jpg")


def save(picture: Image.Image, name: str) -> None:
    path = JOBS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=85)


def poster(photo: Path) -> Image.Image:
    """Four flat inks, as on a printed poster."""
    inks = [(20, 30, 70), (200, 60, 40), (240, 190, 90), (250, 240, 220)]
    with Image.open(photo) as picture:
        grey = ImageOps.autocontrast(ImageOps.grayscale(picture).resize((320, 208)).filter(ImageFilter.MedianFilter(5)))
    return Image.merge("RGB", [grey.point([inks[tone // 64][band] for tone in range(256)]) for band in range(3)])


def mosaic(photo: Path) -> Image.Image:
    """Square tiles with dark joints."""
    with Image.open(photo) as picture:
        small = ImageOps.fit(picture.convert("RGB"), (16, 16))
    tiles = ImageOps.posterize(small.resize((SIDE, SIDE), Image.Resampling.NEAREST), 4)
    draw = ImageDraw.Draw(tiles)
    for at in range(0, SIDE, 16):
        draw.line([(at, 0), (at, SIDE)], fill=(40, 36, 32), width=2)
        draw.line([(0, at), (SIDE, at)], fill=(40, 36, 32), width=2)
    return tiles


def backdrop() -> Image.Image:
    """A studio: a grey wall that runs into the floor, lit from above."""
    light = Image.radial_gradient("L").resize((384, 384)).crop((0, 96, 384, 352))
    return ImageOps.colorize(light, black=(236, 234, 230), white=(120, 122, 128))


def product(draw: Callable[[Pen], None]) -> Image.Image:
    """A thing before white, with a soft shadow below it; drawn finer than it is kept."""
    thing = Image.new("RGB", (SIDE * FINER, SIDE * FINER), "white")
    draw(Pen(thing))
    shadow = Image.new("RGB", thing.size, "white")
    ImageDraw.Draw(shadow).ellipse([box * FINER for box in (48, 206, 208, 236)], fill=(190, 190, 190))
    blurred = shadow.resize((SIDE, SIDE)).filter(ImageFilter.GaussianBlur(6))
    return ImageChops.darker(thing.resize((SIDE, SIDE), Image.Resampling.LANCZOS), blurred)


class Pen(ImageDraw.ImageDraw):
    """Draws in the measures of the finished picture."""

    def area(self, *points: tuple[float, float], fill: str) -> None:
        self.polygon([(x * FINER, y * FINER) for x, y in points], fill=fill)

    def oval(self, *box: float, fill: str | None = None, outline: str | None = None, width: int = 1) -> None:
        self.ellipse([side * FINER for side in box], fill=fill, outline=outline, width=width * FINER)

    def block(self, *box: float, fill: str, round_by: int = 0) -> None:
        self.rounded_rectangle([side * FINER for side in box], round_by * FINER, fill=fill)


def mug(pen: Pen, colour: str, band: str) -> None:
    pen.oval(158, 96, 222, 180, outline=colour, width=14)
    pen.block(60, 72, 184, 216, fill=colour, round_by=18)
    pen.block(60, 128, 184, 152, fill=band)
    pen.oval(60, 60, 184, 88, fill=band)
    pen.oval(68, 64, 176, 84, fill="#3a2418")


def wave(pen: Pen) -> None:
    """A tea bowl of white porcelain with blue waves."""
    pen.area((44, 92), (212, 92), (176, 204), (80, 204), fill="#f4f6fa")
    pen.block(88, 200, 168, 220, fill="#dfe5ee", round_by=4)
    for x in range(64, 200, 32):
        pen.oval(x - 16, 120, x + 16, 152, outline="#2347a5", width=4)
        pen.oval(x - 8, 130, x + 8, 146, outline="#2347a5", width=3)
    pen.oval(44, 78, 212, 106, fill="#2347a5")
    pen.oval(50, 82, 206, 103, fill="#e9eef7")


def lantern(pen: Pen) -> None:
    pen.block(124, 12, 132, 44, fill="#c9a227")
    pen.oval(52, 44, 204, 188, fill="#c8102e")
    for inset in (26, 50, 70):
        pen.oval(52 + inset, 44, 204 - inset, 188, outline="#a00d24", width=2)
    pen.block(96, 36, 160, 54, fill="#c9a227", round_by=4)
    pen.block(96, 178, 160, 196, fill="#c9a227", round_by=4)
    for x in (112, 126, 140):
        pen.block(x, 196, x + 4, 228, fill="#c8102e")


def bottle(pen: Pen) -> None:
    pen.block(84, 88, 172, 224, fill="#2f6b4f", round_by=16)
    pen.area((104, 92), (152, 92), (142, 48), (114, 48), fill="#2f6b4f")
    pen.block(110, 28, 146, 52, fill="#d8d8d4", round_by=4)
    pen.block(84, 132, 172, 180, fill="#efe7d2")
    pen.oval(114, 142, 142, 170, fill="#2f6b4f")


def vase(pen: Pen) -> None:
    pen.oval(68, 84, 188, 220, fill="#9fc3b2")
    pen.area((108, 100), (148, 100), (142, 44), (114, 44), fill="#9fc3b2")
    pen.oval(100, 34, 156, 54, fill="#86ab9a")
    pen.oval(108, 38, 148, 50, fill="#4f6a5e")


def notebook(pen: Pen) -> None:
    pen.block(64, 40, 196, 220, fill="#26324a", round_by=8)
    pen.block(64, 40, 84, 220, fill="#1a2334", round_by=8)
    pen.block(176, 40, 184, 220, fill="#c8102e")
    pen.block(100, 84, 160, 116, fill="#efe7d2", round_by=3)


PRODUCTS: dict[str, Callable[[Pen], None]] = {
    "mug-red": lambda pen: mug(pen, "#b5281e", "#f2e6d8"),
    "mug-blue": lambda pen: mug(pen, "#27509b", "#dfe8f5"),
    "tea-bowl": wave,
    "lantern": lantern,
    "bottle": bottle,
    "vase": vase,
    "notebook": notebook,
}


if __name__ == "__main__":
    main()
