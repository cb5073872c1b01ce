"""Every op's lowering, in the loop language's NumPy meaning, gives what the op gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kiso.compiler import trace
from kiso.compiler.lower import RULES
from kiso.compiler.plan import plan
from kiso.ops import REGISTRY
from tests.compiler.meaning import run_plan

CASES = [pytest.param(cls, i, id=f"{name}-{sample!r}")
         for name, cls in sorted(REGISTRY.items()) for i, sample in enumerate(cls.samples)]


def test_every_op_has_a_lowering() -> None:
    assert sorted(c.__name__ for c in RULES) == sorted(REGISTRY)


@pytest.mark.parametrize("float_type", ["float32", "float64"])
@pytest.mark.parametrize("cls, i", CASES)
def test_value(cls: Any, i: int, float_type: str) -> None:
    sample = cls.samples[i]
    op, arrays = cls(**sample.attributes), sample.arrays(float_type=float_type)
    expected = op(*arrays)
    found = run_plan(plan(trace(op, *arrays).graph), *arrays)
    tolerance = 2e-5 if float_type == "float32" else 1e-9
    for y, z in zip(expected if op.outputs > 1 else (expected,), found, strict=True):
        assert y.dtype == z.dtype and y.shape == z.shape
        np.testing.assert_allclose(z, y, rtol=tolerance, atol=tolerance)
