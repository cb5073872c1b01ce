"""Test-time augmentation: a finished net looks at several views of a picture; their scores are
averaged.

    flip      also mirrored left to right
    shiftN    also moved by N pixels to the upper left and to the lower right (the edge is
              repeated); the two weigh half as much together as all views do

Each view has errors of its own, so their mean has fewer; it costs one forward pass for each.
Source: Krizhevsky et al. 2012 (crops and mirror images); the weights are those of Jordan 2024.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from kiso import ops
from kiso.errors import ConfigError, DataError
from kiso.text import tr

__all__ = ["Views"]

MOST = 64  # pixels of a shift


@dataclass(frozen=True)
class Views:
    """Which views of a picture are judged; `str(views)` is the text that `parse` reads back."""

    flip: bool = False
    shift: int = 0

    @classmethod
    def parse(cls, text: str) -> Views:
        """Read "flip", "shift1" or both; "" or "none" is the picture alone.

        Errors: ConfigError for other words.
        """
        flip, shift = False, 0
        for word in re.findall(r"[^\s,]+", "" if text.strip() == "none" else text):
            moved = re.fullmatch(r"shift(\d{1,4})", word)
            if word == "flip" and not flip:
                flip = True
            elif moved and not shift and 1 <= int(moved[1]) <= MOST:
                shift = int(moved[1])
            else:
                raise ConfigError(tr("--tta is {value!r}; expected flip, shiftN with N from 1 to "
                                     "{most}, both, or none.", value=text, most=MOST))
        return cls(flip, shift)

    def __str__(self) -> str:
        return " ".join(["flip"] * self.flip + [f"shift{self.shift}"] * bool(self.shift))

    def __bool__(self) -> bool:
        """Whether there is more than the picture itself."""
        return self.flip or self.shift > 0

    def weights(self) -> np.ndarray:
        """Share of each view in the mean (V,), in the order of `apply`."""
        moves = [0.5, 0.25, 0.25] if self.shift else [1.0]
        return np.array(moves * (1 + self.flip), np.float32) / (1 + self.flip)

    def apply(self, x: Any) -> Any:
        """Pictures (N, C, H, W) -> all views (V N, C, H, W), view by view.

        Errors: DataError for data without pictures.
        """
        if not self:
            return x
        shape = ops.shape_of(x)
        if len(shape) != 4:
            raise DataError(tr("--tta needs pictures, but one sample has shape {shape}; leave it "
                               "out.", shape=shape[1:]))
        moves = [0, self.shift, -self.shift] if self.shift else [0]
        views: list[Any] = []
        for mirror in (1, -1)[:1 + self.flip]:
            for move in moves:
                matrix = np.array([[1, 0, move], [0, mirror, move]], np.float32)
                theta = np.broadcast_to(matrix, (shape[0], 2, 3)).copy()
                plain = mirror == 1 and move == 0
                views.append(x if plain else ops.affine_sample(x, theta, fill=None))
        return ops.concat(views, 0)

    def mean(self, scores: Any) -> Any:
        """Scores of all views (V N, K) -> their mean (N, K)."""
        if not self:
            return scores
        weights = self.weights()
        rows, outputs = ops.shape_of(scores)
        parts = ops.reshape(scores, (len(weights), rows // len(weights), outputs))
        return ops.sum(parts * weights.reshape(-1, 1, 1), axis=0)
