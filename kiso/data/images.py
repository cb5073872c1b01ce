"""One picture file -> uint8 pixels (H, W, C), C = 1 (grey) or 3 (RGB).

What cameras and tools do to a file is undone: EXIF orientation, palettes, CMYK, transparency
(laid over white), 16 bits a channel. Each such change is noted. The size is read from the
header first, so that a file of a few kilobytes that would unpack to gigabytes is refused before
it is decoded.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kiso.text import tr

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["FITS", "FORMATS", "MAX_PIXELS", "SUFFIXES", "UNREADABLE", "BrokenImage", "Decoded",
           "Fit", "Pixels", "Size", "decode", "resize"]

Pixels = npt.NDArray[np.uint8]  # (H, W, C)
Size = tuple[int, int]  # height, width
Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")

MAX_PIXELS = 50_000_000  # of one file

# Only these are tried: some other decoders of Pillow start programs (EPS) or are seldom tested.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")

SUFFIXES: dict[str, tuple[str, ...]] = {
    ".avif": ("AVIF",), ".bmp": ("BMP", "DIB"), ".gif": ("GIF",), ".jfif": ("JPEG", "MPO"),
    ".jp2": ("JPEG2000",), ".jpeg": ("JPEG", "MPO"), ".jpg": ("JPEG", "MPO"), ".pbm": ("PPM",),
    ".pgm": ("PPM",), ".png": ("PNG",), ".ppm": ("PPM",), ".tif": ("TIFF",), ".tiff": ("TIFF",),
    ".webp": ("WEBP",),
}
# Pictures too, but not for Pillow alone: named as problems, not passed over.
UNREADABLE = (".cr2", ".dng", ".eps", ".heic", ".heif", ".nef", ".psd", ".svg")

_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
            6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"}


class BrokenImage(Exception):
    """A file that gives no picture; the text is the reason, for the list of problems."""


class Decoded(NamedTuple):
    """Pixels of one file and the remarks on how it was read."""

    pixels: Pixels
    notes: list[str]


def _open(data: Path | bytes, max_pixels: int) -> Image.Image:
    """Read the header only, and refuse what is empty, no picture, or too large."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(data, Path) and not data.is_file():  # a pipe would keep us waiting for ever
        raise BrokenImage(tr("not a regular file"))
    empty = not data if isinstance(data, bytes) else data.stat().st_size == 0
    if empty:
        raise BrokenImage(tr("the file is empty (0 bytes)"))
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        im = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=formats)
    except UnidentifiedImageError as error:
        raise BrokenImage(tr("not a picture that can be read")) from error
    except Image.DecompressionBombError as error:
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))  # Pillow's own
        raise BrokenImage(tr("far more pixels than the limit of {limit:.0f} megapixels",
                             limit=limit / 1e6)) from error
    if im.width * im.height > max_pixels:
        text = tr("{size:.1f} megapixels, more than the limit of {limit:.0f}",
                  size=im.width * im.height / 1e6, limit=max_pixels / 1e6)
        im.close()
        raise BrokenImage(text)
    return im


def _eight_bits(values: npt.NDArray[np.generic], most: int) -> Pixels:
    """Scale 0 ... most to 0 ... 255, rounded."""
    return np.rint(values.astype(np.float64) * (255 / most)).astype(np.uint8)


def _deep_grey(im: Image.Image, notes: list[str]) -> Pixels:
    """Grey pictures of 16 or 32 bits a pixel -> 8 bits."""
    values = np.asarray(im)
    low, high = float(values.min()), float(values.max())
    most = (1 if high <= 1 else 255) if im.mode == "F" else 65535
    if not (low >= 0 and high <= most):
        raise BrokenImage(tr("pixel values from {low:g} to {high:g}; expected 0 to {most}",
                             low=low, high=high, most=most))
    notes.append(tr("{mode} pixels reduced to 8 bits", mode=im.mode))
    return _eight_bits(values, most)


def _plain(im: Image.Image, notes: list[str]) -> Image.Image:
    """Any colour mode -> L or RGB."""
    from PIL import Image

    if im.mode.startswith("I") or im.mode == "F":
        return Image.fromarray(_deep_grey(im, notes))
    if im.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in im.info:
        grey = im.mode in ("L", "LA", "La", "1")
        layer = im.convert("RGBA")
        if layer.getchannel("A").getextrema() != (255, 255):
            notes.append(tr("transparent parts laid over white"))
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("L" if grey else "RGB")
    if im.mode in ("1", "L"):
        return im.convert("L")
    if im.mode == "CMYK":
        notes.append(tr("CMYK colours converted to RGB"))
    return im.convert("RGB")


def _upright(im: Image.Image, notes: list[str]) -> Image.Image:
    """Turn the picture as its EXIF orientation says."""
    from PIL import Image

    try:
        turn = _UPRIGHT.get(int(im.getexif().get(_ORIENTATION, 1)))
    except Exception:  # broken EXIF: as many kinds of errors as there are cameras
        notes.append(tr("unreadable EXIF data ignored"))
        return im
    if turn is None:
        return im
    notes.append(tr("turned upright by its EXIF orientation"))
    return im.transpose(Image.Transpose[turn])


def _fitted(im: Image.Image, size: Size, fit: Fit) -> Image.Image:
    """Bring an L or RGB picture to (height, width) = size; see `resize`."""
    from PIL import Image

    height, width = size
    if (im.height, im.width) == size:
        return im
    if fit == "stretch":
        return im.resize((width, height), Image.Resampling.BILINEAR)
    ratios = (width / im.width, height / im.height)
    if fit == "pad":
        scale = min(ratios)
        inside = (min(width, max(1, round(im.width * scale))),
                  min(height, max(1, round(im.height * scale))))
        canvas = Image.new(im.mode, (width, height))  # black
        canvas.paste(im.resize(inside, Image.Resampling.BILINEAR),
                     ((width - inside[0]) // 2, (height - inside[1]) // 2))
        return canvas
    scale = max(ratios)
    w, h = width / scale, height / scale  # the part of the picture that remains
    left, top = (im.width - w) / 2, (im.height - h) / 2
    box = (max(0.0, left), max(0.0, top), min(im.width, left + w), min(im.height, top + h))
    return im.resize((width, height), Image.Resampling.BILINEAR, box=box)


def resize(pixels: Pixels, size: Size, fit: Fit = "crop") -> Pixels:
    """Bring pixels (H, W, C) to `size` with bilinear resampling (antialiased when shrinking).

    crop: the shorter side is scaled to fit and the middle is kept. pad: the whole picture, on
    black.
    stretch: the whole picture, its aspect ratio lost.
    """
    from PIL import Image

    grey = pixels.shape[2] == 1
    im = Image.fromarray(pixels[:, :, 0] if grey else pixels)
    return _pixels(_fitted(im, size, fit))


def _pixels(im: Image.Image) -> Pixels:
    values = np.asarray(im, np.uint8)
    return values[:, :, None] if values.ndim == 2 else values


def _first_look(im: Image.Image, name: str, notes: list[str]) -> None:
    """Remarks that the header allows."""
    kind = im.format or "?"
    suffix = Path(name).suffix.lower()
    if suffix and kind not in SUFFIXES.get(suffix, (kind,)):
        notes.append(tr("named {suffix} but is {kind}", suffix=suffix, kind=kind))
    if kind != "MPO" and getattr(im, "is_animated", False):  # MPO: a phone's preview, not a film
        notes.append(tr("several pictures in the file: the first one is used"))
        im.seek(0)
    tile: Any = getattr(im, "tile", None)  # of files only: how the pixels are packed
    if tile and ";16" in str(tile[0][-1]) and im.mode in ("RGB", "RGBA"):
        notes.append(tr("{mode} pixels reduced to 8 bits", mode=f"16-bit {im.mode}"))


def decode(data: Path | bytes, name: str, *, size: Size | None = None, fit: Fit = "crop",
           grey: bool = False, keep: int = 0, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Read one file. `size=None` keeps the picture's own size.

    keep: with `size`, pictures whose sides are all at most `keep` stay as they are (the caller has
    not decided on a size yet, see pictures.py). Raises BrokenImage with the reason.
    """
    notes: list[str] = []
    try:
        with _open(data, max_pixels) as im:
            _first_look(im, name, notes)
            fitted = size is not None and max(im.size) > keep
            if size is not None and fitted:
                im.draft(im.mode, (2 * max(size), 2 * max(size)))  # JPEG: decode at 1/2 ... 1/8
            im.load()
            plain = _plain(_upright(im, notes), notes)
            plain = plain.convert("L") if grey else plain
            if size is not None and fitted:
                plain = _fitted(plain, size, fit)
            return Decoded(_pixels(plain), notes)
    except BrokenImage:
        raise
    except Exception as error:  # decoders raise a dozen kinds; whichever: this file is broken
        reason = str(error) or type(error).__name__
        raise BrokenImage(tr("cannot be decoded: {reason}", reason=reason)) from error
