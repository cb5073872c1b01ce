"""Scaling to mean 0 and standard deviation 1 with the training split's statistics.

x' = (x - mean) / std, per channel of images or column of tables; regression targets likewise. The
statistics are part of the run, so that validation, test and new data are scaled in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from kiso.data.dataset import Dataset
from kiso.errors import DataError
from kiso.text import tr

__all__ = ["Normalizer"]

Stats = npt.NDArray[np.float32]  # broadcastable over the samples: (1, C, 1, 1), (1, D) or (1, K)


def _image_stats(x: npt.NDArray[np.uint8]) -> tuple[Stats, Stats]:
    """Exact but for the last division: sums of whole numbers below 2^53 have no rounding, neither
    in float64, in whatever order, nor as integers."""
    total, squares = [0] * x.shape[1], [0] * x.shape[1]
    rows = max(1, 32768 // x[0, 0].size)  # a block that stays near the processor
    for start in range(0, len(x), rows):
        for channel, part in enumerate(x[start:start + rows].swapaxes(0, 1)):
            block = part.astype(np.float64).ravel()
            total[channel] += int(block.sum())
            squares[channel] += int(block @ block)
    n = x[:, 0].size
    mean = np.array([a / n for a in total])
    var = np.array([(n * b - a * a) / n**2 for a, b in zip(total, squares, strict=True)])
    shape = (1, len(mean), 1, 1)
    return mean.reshape(shape).astype(np.float32), _spread(np.sqrt(var)).reshape(shape)


def _column_stats(x: npt.NDArray[Any]) -> tuple[Stats, Stats]:
    wide = x.astype(np.float64)
    mean, std = wide.mean(0, keepdims=True), wide.std(0, keepdims=True)
    std[std < 1e-6 * np.abs(mean)] = 0  # a constant column, but for rounding
    return mean.astype(np.float32), _spread(std)


def _spread(std: npt.NDArray[np.float64]) -> Stats:
    """A constant channel or column is only shifted, never divided by 0."""
    return np.where(std == 0, 1, std).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Normalizer:
    """mean and std of inputs (in the units of x: 0 ... 255 for images) and regression targets."""

    mean: Stats
    std: Stats
    y_mean: Stats | None = None
    y_std: Stats | None = None

    @classmethod
    def fit(cls, train: Dataset) -> Normalizer:
        """Statistics of the training split. Errors: DataError when it is empty."""
        if len(train) == 0:
            raise DataError(tr("the training split is empty: there is nothing to learn from."))
        mean, std = _image_stats(train.x) if train.kind == "image" else _column_stats(train.x)
        if train.task == "classification":
            return cls(mean, std)
        return cls(mean, std, *_column_stats(train.y))

    def apply(self, x: Any) -> Any:
        """Scaled inputs, float32; x may be an array, a Tensor or a traced value."""
        from kiso import ops

        return (ops.cast(x, "float32") - self.mean) / self.std

    def restore(self, x: Any) -> Any:
        """Undo `apply`: pixels in 0 ... 255, columns in their own units."""
        return x * self.std + self.mean

    def apply_target(self, y: Any) -> Any:
        """Scaled regression targets; class numbers stay as they are."""
        return y if self.y_mean is None else (y - self.y_mean) / self.y_std

    def restore_target(self, y: Any) -> Any:
        """Undo `apply_target`: predictions in the target's own units."""
        return y if self.y_mean is None else y * self.y_std + self.y_mean

    def arrays(self) -> dict[str, Stats]:
        """The statistics that there are, by name: what `scaled_by` takes, perhaps as traced values.
        """
        named = {"mean": self.mean, "std": self.std, "y_mean": self.y_mean, "y_std": self.y_std}
        return {name: value for name, value in named.items() if value is not None}

    def scaled_by(self, arrays: Mapping[str, Any]) -> Normalizer:
        """The same with these statistics in place of its own."""
        return replace(self, **arrays)

    def to_json(self) -> dict[str, Any]:
        """A record that `from_json` reads back exactly."""
        fields = {"mean": self.mean, "std": self.std, "y_mean": self.y_mean, "y_std": self.y_std}
        return {name: None if v is None else {"shape": list(v.shape), "values": v.ravel().tolist()}
                for name, v in fields.items()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Normalizer:
        """The normalizer of a record."""
        read = {name: None if v is None else np.array(v["values"], np.float32).reshape(v["shape"])
                for name, v in record.items()}
        mean, std = read["mean"], read["std"]
        assert mean is not None and std is not None
        return cls(mean, std, read["y_mean"], read["y_std"])
