"""`digits`: 1,797 handwritten digits of 8x8 pixels that come with scikit-learn; needs no network.

A part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998, UCI).
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from kiso.data.sources.parts import Part, Pool, numbered

__all__ = ["read"]


def read() -> Pool:
    """x: 0 ... 16 in the original, here scaled to 0 ... 255 and rounded."""
    from sklearn.datasets import load_digits

    bunch = cast(Any, load_digits())
    pixels = np.asarray(bunch.images, np.float64)  # (N, 8, 8)
    x = np.rint(pixels * (255 / 16)).astype(np.uint8)[:, None]  # (N, 1, 8, 8)
    y = np.asarray(bunch.target, np.int64)
    return Pool({"all": Part(x, y, numbered("digits", len(x)))}, classes=tuple("0123456789"),
                source={"name": "digits", "format": "digits"})
