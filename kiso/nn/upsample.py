"""Maps that grow without weights: up-sampling and pixel shuffle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from kiso import ops
from kiso.errors import ConfigError
from kiso.nn.checks import choice, count, number
from kiso.nn.reshaping import PassOn
from kiso.ops import Value

__all__ = ["PixelShuffle", "PixelUnshuffle", "Upsample"]

MODES = ("nearest", "linear", "bilinear", "trilinear")


class Upsample(PassOn):
    """x (N, C, *S) with longer (or shorter) spatial axes, by repetition or interpolation.

    Give `size`, the new lengths, or `scale_factor`: OUT = floor(S * scale_factor); each is a
    number, or one for each axis. mode "nearest" repeats elements, "linear" (N, C, L), "bilinear"
    (N, C, H, W) and "trilinear" (N, C, D, H, W) weight the neighbours by nearness; with
    align_corners the first and last elements keep their places. Formulas: `kiso.ops.interpolate`.

    Errors: ConfigError for neither or both of size and scale, an unknown mode, or align_corners
    with "nearest"; ShapeError if mode and axes do not fit.
    """

    size: int | tuple[int, ...] | None
    scale_factor: float | tuple[float, ...] | None
    mode: str
    align_corners: bool

    def __init__(self, size: int | Sequence[int] | None = None,
                 scale_factor: float | Sequence[float] | None = None, mode: str = "nearest",
                 align_corners: bool | None = None):
        if (size is None) == (scale_factor is None):
            raise ConfigError(f"Upsample: size is {size!r}, scale_factor is {scale_factor!r}; give "
                              "one of them.")
        self.size = None if size is None else _each(_length, size)
        self.scale_factor = None if scale_factor is None else _each(_scale, scale_factor)
        self.mode = choice("Upsample", "mode", mode, MODES)
        self.align_corners = bool(align_corners)
        if align_corners and mode == "nearest":
            raise ConfigError("Upsample: align_corners has no meaning for mode 'nearest'.")

    def forward(self, x: Value) -> Value:
        """(N, C, *S) -> (N, C, *OUT)"""
        return ops.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        words = [f"size={self.size}"] if self.scale_factor is None else [
            f"scale_factor={self.scale_factor}"]
        return ", ".join([*words, f"mode={self.mode!r}",
                          *["align_corners=True"] * self.align_corners])


def _length(value: Any) -> int:
    return count("Upsample", "size", value)


def _scale(value: Any) -> float:
    return number("Upsample", "scale_factor", value, 0, open_low=True)


def _each(check: Callable[[Any], Any], value: Any) -> Any:
    """The check's result for a number, or for each number of a list."""
    if isinstance(value, list | tuple) and value:
        return tuple(check(v) for v in cast("Sequence[Any]", value))
    return check(value)


class PixelShuffle(PassOn):
    """(N, C r^2, H, W) -> (N, C, H r, W r): channels become pixels.  Shi et al. 2016."""

    upscale_factor: int

    def __init__(self, upscale_factor: int):
        self.upscale_factor = count("PixelShuffle", "upscale_factor", upscale_factor)

    def forward(self, x: Value) -> Value:
        """(N, C r^2, H, W) -> (N, C, H r, W r)"""
        return ops.pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(PassOn):
    """(N, C, H r, W r) -> (N, C r^2, H, W): pixels become channels, the inverse of PixelShuffle."""

    downscale_factor: int

    def __init__(self, downscale_factor: int):
        self.downscale_factor = count("PixelUnshuffle", "downscale_factor", downscale_factor)

    def forward(self, x: Value) -> Value:
        """(N, C, H r, W r) -> (N, C r^2, H, W)"""
        return ops.pixel_unshuffle(x, self.downscale_factor)
