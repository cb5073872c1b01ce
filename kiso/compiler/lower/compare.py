"""Twin of ops/compare.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.loops import Fn, Program, binary
from kiso.compiler.lower.rules import lowers, spread

__all__ = ["compare"]

NAMES = {ops.Equal: "eq", ops.NotEqual: "ne", ops.Less: "lt", ops.LessEqual: "le",
         ops.Greater: "gt", ops.GreaterEqual: "ge"}


@lowers(*NAMES)
def compare(p: Program, op: Any, a: Fn, b: Fn) -> Fn:
    """One comparison, both inputs broadcast and in their common type."""
    shape, common = op.shape(a.shape, b.shape), np.result_type(a.dtype, b.dtype)
    return Fn(shape, np.dtype(bool), lambda *i: binary(
        NAMES[type(op)], spread(a, shape, i).cast(common), spread(b, shape, i).cast(common)))
