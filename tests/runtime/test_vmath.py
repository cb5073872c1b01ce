"""Vector mathematics against NumPy and SciPy, over the whole range of arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from kiso.compiler.loops import Axis, Index, Kernel, Load, Program, binary, unary
from kiso.compiler.plan import Plan
from kiso.runtime import Executable

NAMES: dict[str, Any] = {"exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
                         "tanh": np.tanh, "sin": np.sin, "cos": np.cos, "erf": special.erf}
TOLERANCE = {"float32": 2.5e-7, "float64": 1e-15}
EDGES = [0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 1e-30, -1e-30, 100, -100, 1e4, 800, -800,
         88.72, 89, -103]


@pytest.fixture(autouse=True, params=["host", "sse2"])
def on(request: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from kiso.runtime import target

    if request.param == "sse2" and target().name == "neon":
        pytest.skip("an ARM processor")
    monkeypatch.setenv("KISO_TARGET", request.param)
    monkeypatch.setenv("KISO_CACHE", str(tmp_path))


def compiled(name: str, *xs: Any) -> Any:
    program = Program()
    inputs = tuple(program.buffer(x.shape, x.dtype) for x in xs)
    i = Index(axis := Axis(len(xs[0])))
    args = [Load(b, (i,)) for b in inputs]
    out = program.buffer(xs[0].shape, xs[0].dtype)
    e = unary(name, args[0]) if len(args) == 1 else binary(name, *args)
    program.kernels.append(Kernel(out, (axis,), e))
    return Executable(Plan(program, inputs, {}, (out,)))(*xs)[0]


def arguments(name: str, kind: str) -> Any:
    rng = np.random.default_rng(len(name))
    small = kind == "float32"
    if name in ("sin", "cos"):
        x = np.concatenate([rng.uniform(-1e4, 1e4, 100_000), rng.uniform(-4, 4, 100_000)])
    elif name in ("log", "log1p"):
        wide = np.exp(rng.uniform(-80, 80, 100_000) if small else rng.uniform(-700, 700, 100_000))
        x = np.concatenate([wide, rng.uniform(0.3, 3, 100_000)])
        if name == "log1p":
            x = np.concatenate([x, rng.uniform(-0.999, 0.5, 100_000), -wide[wide < 0.5]])
    else:
        end = 87 if small else 707
        x = np.concatenate([rng.uniform(-end, end, 100_000), rng.uniform(-6, 6, 100_000),
                            rng.uniform(-1, 1, 100_000), rng.normal(size=1000) * 1e-6])
    return x.astype(kind)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_accuracy(name: str, kind: str) -> None:
    x = arguments(name, kind)
    wider: Any = np.float64 if kind == "float32" or name == "erf" else np.longdouble
    with np.errstate(all="ignore"):
        expected = NAMES[name](x.astype(wider))
        size = np.maximum(np.abs(expected), 1 if name in ("sin", "cos") else np.finfo(kind).tiny)
        error = np.abs(compiled(name, x) - expected) / size
    assert float(error.max()) <= TOLERANCE[kind], x[error.argmax()]


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_edges(name: str, kind: str) -> None:
    x = np.array(EDGES, kind)
    with np.errstate(all="ignore"):
        expected = NAMES[name](x)
        found = compiled(name, x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-37)
    if name not in ("exp", "cos", "log"):
        np.testing.assert_array_equal(np.signbit(found[:2]), [False, True])


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_subnormals_are_kept_or_flushed(kind: str) -> None:
    x = np.array([np.finfo(kind).tiny / 64, -np.finfo(kind).tiny / 64], kind)
    for name in ("expm1", "log1p", "tanh", "sin", "erf"):
        with np.errstate(all="ignore"):
            found = compiled(name, x)
        assert np.all(np.abs(found) <= 1.2 * np.abs(x)), name
    np.testing.assert_array_equal(compiled("exp", x), 1)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_powers(kind: str) -> None:
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(-5, 5, 100_000)).astype(kind)
    y = rng.uniform(-8, 8, 100_000).astype(kind)
    expected = np.power(x.astype(np.longdouble), y.astype(np.longdouble))
    error = np.abs(compiled("pow", x, y) - expected) / expected
    assert float(error.max()) <= {"float32": 1e-7, "float64": 1e-14}[kind]
    x = np.array([0, 0, 0, 2, -2, -2, -2, -2, 1, np.inf, 3, 0.5, -1, 2, np.nan], kind)
    y = np.array([0, 2, -1, 0.5, 2, 3, -3, 0.5, np.inf, 2, np.inf, np.inf, 7, -np.inf, 1], kind)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(compiled("pow", x, y), np.power(x, y), rtol=1e-6)


@pytest.mark.parametrize("kind", ["int64", "int32", "uint32"])
def test_powers_of_integers(kind: str) -> None:
    x = np.array([0, 0, 1, 2, 3, 7, 10], kind)
    y = np.array([0, 3, 1000, 20, 5, 9, 9], kind)
    np.testing.assert_array_equal(compiled("pow", x, y), np.power(x, y))


def test_the_same_bits_every_time() -> None:
    program = Program()
    x = program.buffer((10_001,), "float32")
    i = Index(axis := Axis(10_001))
    y = program.buffer((10_001,), "float32")
    program.kernels.append(Kernel(y, (axis,), unary("exp", Load(x, (i,)))))
    run = Executable(Plan(program, (x,), {}, (y,)))
    a = np.random.default_rng(0).standard_normal(10_001).astype(np.float32)
    np.testing.assert_array_equal(run(a)[0], run(a.copy())[0])
