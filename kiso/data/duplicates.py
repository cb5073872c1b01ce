"""Identical pictures: found by a hash of their decoded bytes.

The same picture in training and test makes a test result too good. Where Kiso deals the splits
itself, identical pictures go to one side together; where the parts are given (the official test
set, `train/` and `test/` folders) they are left as they are and reported.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["Copy", "across", "digests", "groups"]

Copy = tuple[str, str]  # split, name of the sample


def digests(x: npt.NDArray[np.uint8]) -> list[bytes]:
    """A hash of each picture of (N, C, H, W)."""
    return [hashlib.blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(x)]


def groups(found: Sequence[bytes]) -> npt.NDArray[np.int64]:
    """Group number of every picture (N,): equal ones have equal numbers. found: their hashes."""
    number: dict[bytes, int] = {}
    return np.array([number.setdefault(digest, len(number)) for digest in found], np.int64)


def across(parts: Mapping[str, tuple[Sequence[bytes], Sequence[str]]],
           ) -> tuple[tuple[Copy, ...], ...]:
    """Groups of identical pictures that lie in more than one split: hashes and names of each."""
    places: defaultdict[bytes, list[Copy]] = defaultdict(list)
    for part, (found, names) in parts.items():
        for digest, name in zip(found, names, strict=True):
            places[digest].append((part, name))
    return tuple(tuple(copies) for copies in places.values()
                 if len(copies) > 1 and len({part for part, _ in copies}) > 1)
