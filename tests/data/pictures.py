"""Picture files for tests: class folders, and one file of every awkward kind."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ["BROKEN", "ODD", "noise", "plant", "png", "write_classes"]


def noise(seed: int, height: int = 20, width: int = 24, channels: int = 3) -> np.ndarray:
    """Random pixels, different for every seed."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, channels), np.uint8)
    return pixels[:, :, 0] if channels == 1 else pixels


def png(pixels: np.ndarray) -> bytes:
    """Pixels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_classes(folder: Path, classes: tuple[str, ...] = ("cat", "dog", "human"), n: int = 12,
                  seed: int = 0, **shape: int) -> Path:
    """n pictures of noise in each class folder."""
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = noise(10_000 * seed + 100 * k + i, **shape)
            (folder / name / f"{name}_{i:03d}.png").write_bytes(png(pixels))
    return folder


BROKEN = {  # file in the folder cat -> a part of the reason
    "truncated.jpg": "decoded", "zero.png": "0 bytes", "text.jpg": "not a picture",
    "bomb.png": "60.0 megapixels", "phone.heic": ".heic files", "cut.gif": "decoded",
}
ODD = {  # file -> a part of the note; these are read
    "png_named.jpg": "is PNG", "rotated.jpg": "EXIF", "cmyk.jpg": "CMYK", "deep.png": "8 bits",
    "film.gif": "first", "glass.png": "white",
}


def plant(folder: Path) -> None:
    """Put one file of every broken and odd kind into the folder."""
    im = Image.fromarray(noise(7, 48, 64))
    im.save(folder / "truncated.jpg")
    (folder / "truncated.jpg").write_bytes((folder / "truncated.jpg").read_bytes()[:1500])
    (folder / "zero.png").write_bytes(b"")
    (folder / "text.jpg").write_text("This was once the name of a picture.\n" * 30)
    Image.new("1", (10_000, 6_000)).save(folder / "bomb.png")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    im.save(folder / "cut.gif")
    (folder / "cut.gif").write_bytes((folder / "cut.gif").read_bytes()[:1200])
    (folder / "png_named.jpg").write_bytes(png(noise(8)))
    exif = Image.Exif()
    exif[0x0112] = 6
    im.save(folder / "rotated.jpg", exif=exif)
    im.convert("CMYK").save(folder / "cmyk.jpg")
    deep = np.random.default_rng(9).integers(0, 65536, (20, 20)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    im.save(folder / "film.gif", save_all=True, append_images=[Image.fromarray(noise(10, 48, 64))])
    clear = im.convert("RGBA")
    clear.putalpha(120)
    clear.save(folder / "glass.png")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._cat.jpg"):
        (folder / name).write_bytes(b"\0" * 20)
    (folder / "notes.txt").write_text("not a picture and not named like one")
