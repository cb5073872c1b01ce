"""Inputs on which every op is tested: values, gradients, tracing and (later) compiled code.

    samples = (Sample((2, 3), (3,)),                    # two arrays of these shapes
               Sample(Draw(4, 5, low=0.5, high=2.0)),   # positive values
               Sample((2, 6), to=(3, 4)))               # keywords are the op's attributes

Drawn values are all different and evenly spread over [low, high] without hitting 0, so that
kinks (ReLU, abs, max) and ties never lie within the step of a numeric derivative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Draw", "Given", "Sample"]


@dataclass(frozen=True, init=False)
class Draw:
    """One input array: shape, range and type (`float`, `int`, `bool`, `uint8`, `uint32`)."""

    shape: tuple[int, ...]
    low: float
    high: float
    dtype: str

    def __init__(self, *shape: int, low: float = -2.0, high: float = 2.0, dtype: str = "float"):
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        object.__setattr__(self, "dtype", dtype)

    def array(self, rng: np.random.Generator, float_type: str = "float64") -> npt.NDArray[Any]:
        """Draw the array; integers are uniform in [low, high)."""
        if self.dtype == "bool":
            return rng.random(self.shape) < 0.5
        if self.dtype != "float":
            kind = "int64" if self.dtype == "int" else self.dtype
            return rng.integers(int(self.low), int(self.high), self.shape).astype(kind)
        size = int(np.prod(self.shape))
        # Centres of `size` equal cells; the odd shift keeps 0 away from every centre.
        cells = (np.arange(size) + 0.37) / max(size, 1)
        values = self.low + (self.high - self.low) * rng.permutation(cells)
        return values.reshape(self.shape).astype(float_type)


class Given:
    """An input that is no matter of chance: tables that must fit each other."""

    def __init__(self, values: npt.ArrayLike):
        self.values = np.asarray(values)
        self.shape: tuple[int, ...] = self.values.shape

    def array(self, rng: np.random.Generator, float_type: str = "float64") -> npt.NDArray[Any]:
        """The values; floats in the given type."""
        kind = float_type if self.values.dtype.kind == "f" else self.values.dtype
        return self.values.astype(kind)


class Sample:
    """Inputs (shapes, `Draw`s or `Given`) and the op's attributes as keywords."""

    def __init__(self, *inputs: tuple[int, ...] | Draw | Given, **attributes: Any):
        self.inputs = tuple(Draw(*x) if isinstance(x, tuple) else x for x in inputs)
        self.attributes = attributes

    def arrays(self, seed: int = 0, float_type: str = "float64") -> list[npt.NDArray[Any]]:
        """The inputs as arrays, the same for the same seed."""
        rng = np.random.default_rng([seed, len(self.inputs)])
        return [draw.array(rng, float_type) for draw in self.inputs]

    def __repr__(self) -> str:
        """Short name for test ids: shapes and attributes."""
        shapes = "-".join("x".join(map(str, d.shape)) or "scalar" for d in self.inputs)
        attributes = ",".join(f"{k}={v}" for k, v in self.attributes.items())
        return f"{shapes}{'|' if attributes else ''}{attributes}"
