"""Each further layer: compiled equals eager, forward and backward, and gradients in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import kiso
from kiso import nn, ops
from kiso.autograd import gradcheck, value_and_grad
from kiso.nn.probe import output_shape

KEY = ops.make_key(3, 1)


@dataclass(frozen=True)
class Case:
    """A layer, what it gets (whole numbers below `limit` if there is one), what it gives."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    out: tuple[int, ...]
    limit: int = 0
    copies: int = 1  # how often the same kind of input is given: attention takes three

    def inputs(self, kind: str) -> list[np.ndarray]:
        rng = np.random.default_rng(0)
        if self.limit:
            return [rng.integers(0, self.limit, self.shape)]
        return [rng.uniform(-1, 1, self.shape).astype(kind) for _ in range(self.copies)]


CASES = {
    "convt1d": Case(lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2), (2, 4, 5), (2, 6, 10)),
    "convt2d": Case(lambda: nn.ConvTranspose2d(3, 4, 4, 2, 1), (2, 3, 4, 5), (2, 4, 8, 10)),
    "convt2d-dilated": Case(lambda: nn.ConvTranspose2d(2, 3, 2, 1, 1, 2, 1, True, 3), (2, 2, 4, 5),
                            (2, 3, 7, 8)),
    "convt3d": Case(lambda: nn.ConvTranspose3d(2, 3, 3, 2, 1, 1), (1, 2, 2, 2, 3),
                    (1, 3, 4, 4, 6)),
    "nearest": Case(lambda: nn.Upsample(scale_factor=2), (2, 3, 4, 5), (2, 3, 8, 10)),
    "nearest-size": Case(lambda: nn.Upsample((7, 3)), (2, 3, 4, 5), (2, 3, 7, 3)),
    "bilinear": Case(lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (2, 3, 4, 5),
                     (2, 3, 8, 10)),
    "corners": Case(lambda: nn.Upsample((6, 9), mode="bilinear", align_corners=True),
                    (2, 3, 4, 5), (2, 3, 6, 9)),
    "trilinear": Case(lambda: nn.Upsample(scale_factor=1.5, mode="trilinear"), (1, 2, 2, 3, 4),
                      (1, 2, 3, 4, 6)),
    "shuffle": Case(lambda: nn.PixelShuffle(2), (2, 8, 3, 4), (2, 2, 6, 8)),
    "unshuffle": Case(lambda: nn.PixelUnshuffle(2), (2, 2, 6, 8), (2, 8, 3, 4)),
    "lrn": Case(lambda: nn.LocalResponseNorm(5, 0.3), (2, 7, 3, 4), (2, 7, 3, 4)),
    "lrn-paper": Case(lambda: nn.LocalResponseNorm(4, 0.1, 0.75, 2, average=False), (2, 7, 3, 4),
                      (2, 7, 3, 4)),
    "ln": Case(lambda: nn.LayerNorm((3, 4)), (2, 2, 3, 4), (2, 2, 3, 4)),
    "gn": Case(lambda: nn.GroupNorm(2, 6), (2, 6, 3, 4), (2, 6, 3, 4)),
    "in": Case(lambda: nn.InstanceNorm2d(3, affine=True), (2, 3, 4, 5), (2, 3, 4, 5)),
    "adaptive": Case(lambda: nn.AdaptiveAvgPool2d((3, 7)), (2, 3, 5, 4), (2, 3, 3, 7)),
    "adaptive-even": Case(lambda: nn.AdaptiveAvgPool2d(2), (2, 3, 4, 8), (2, 3, 2, 2)),
    "adaptive3d": Case(lambda: nn.AdaptiveAvgPool3d((2, 1, 3)), (1, 2, 3, 4, 5), (1, 2, 2, 1, 3)),
    "local1d": Case(lambda: nn.LocallyConnected1d(3, 4, 7, 3, 2, 1), (2, 3, 7), (2, 4, 4)),
    "local2d": Case(lambda: nn.LocallyConnected2d(2, 3, (5, 6), 3, 2), (3, 2, 5, 6), (3, 3, 2, 2)),
    "untied": Case(lambda: nn.UntiedConv2d(2, 3, (5, 6), 3, 2, 1), (3, 2, 5, 6), (3, 3, 3, 3)),
    "subsampling": Case(lambda: nn.Subsampling2d(3), (2, 3, 4, 6), (2, 3, 2, 3)),
    "sparse": Case(lambda: nn.SparseConv2d(((0, 2), (1,), (2, 0, 1)), 3), (2, 3, 5, 4),
                   (2, 3, 3, 2)),
    "scaledtanh": Case(lambda: nn.ScaledTanh(), (3, 4), (3, 4)),
    "embedding": Case(lambda: nn.Embedding(7, 3, 2), (2, 5), (2, 5, 3), limit=7),
    "dropout2d": Case(lambda: nn.Dropout2d(0.4), (3, 4, 2, 3), (3, 4, 2, 3)),
    "depth": Case(lambda: nn.StochasticDepth(0.5), (6, 2, 3), (6, 2, 3)),
    "se": Case(lambda: nn.SqueezeExcitation(6, 2), (2, 6, 3, 4), (2, 6, 3, 4)),
    "sepconv": Case(lambda: nn.SeparableConv2d(3, 5, 3, 2, 1), (2, 3, 6, 5), (2, 5, 3, 3)),
    "rnn": Case(lambda: nn.RNN(3, 4, bidirectional=True), (4, 2, 3), (4, 2, 8)),
    "lstm": Case(lambda: nn.LSTM(3, 4, 2, dropout=0.3), (4, 2, 3), (4, 2, 4)),
    "gru": Case(lambda: nn.GRU(3, 4, batch_first=True), (2, 4, 3), (2, 4, 4)),
    "lstmcell": Case(lambda: nn.LSTMCell(3, 4), (2, 3), (2, 4)),
    "attention": Case(lambda: nn.MultiheadAttention(6, 2, 0.2), (4, 2, 6), (4, 2, 6), copies=3),
}


def made(case: Case) -> nn.Module:
    """The layer in training mode, no parameter at a plain value such as 0 or 1."""
    nn.manual_seed(1)
    layer = case.make()
    rng = np.random.default_rng(1)
    for p in layer.parameters():
        p.data = p.data + rng.uniform(-0.3, 0.3, p.shape).astype(np.float32)
    return layer


def leaves(y: Any) -> list[Any]:
    if isinstance(y, tuple | list):
        return [leaf for part in y for leaf in leaves(part)]
    return [y]


def weighted(ys: list[Any]) -> Any:
    """The sum of all results, each element with a weight of its own."""
    total: Any = 0
    for y in ys:
        total = total + (y * np.linspace(0.5, 1.5, y.size).reshape(y.shape).astype(y.dtype)).sum()
    return total


@pytest.mark.parametrize("name", CASES)
def test_shape(name: str) -> None:
    case = CASES[name]
    y = leaves(made(case)(*case.inputs("float32")))[0]
    assert y.shape == case.out and y.dtype == np.float32


@pytest.mark.parametrize("name", CASES)
def test_compiled_equals_eager_with_gradients(name: str) -> None:
    case = CASES[name]
    layer, xs = made(case), case.inputs("float32")
    params = {n: p.data for n, p in layer.named_parameters()}

    def step(params: Any, xs: Any) -> Any:
        def loss(values: Any) -> Any:
            own = {n: values[n] for n in params}
            given = [values.get(f"input {k}", x) for k, x in enumerate(xs)]
            ys, _ = nn.functional_call(layer, own, {}, *given, key=KEY, training=True)
            return weighted(leaves(ys)), leaves(ys)
        inputs = {} if case.limit else {f"input {k}": x for k, x in enumerate(xs)}
        return value_and_grad(loss, {**params, **inputs})

    (_, own, ys), (_, own2, ys2) = kiso.compile(step)(params, xs), step(params, xs)
    for a, b in zip(ys, ys2, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=2e-5, atol=2e-5)
    assert own.keys() == own2.keys() and own
    for key, gradient in own.items():
        np.testing.assert_allclose(gradient, own2[key], rtol=1e-4, atol=1e-4, err_msg=key)


@pytest.mark.parametrize("name", CASES)
def test_gradient(name: str) -> None:
    case = CASES[name]
    layer, xs = made(case).astype("float64"), case.inputs("float64")
    names = [n for n, _ in layer.named_parameters()]
    values = [p.data for p in layer.parameters()]
    floats = [] if case.limit else xs

    def f(*given: Any) -> list[Any]:
        inputs = given[len(names):] or xs
        y, _ = nn.functional_call(layer, dict(zip(names, given, strict=False)), {}, *inputs,
                                  key=KEY, training=True)
        return leaves(y)

    if name == "embedding":  # the row of padding has no gradient, though its value counts
        values[0][2] = 0
        reports = gradcheck(lambda w: f(w)[0] * (xs[0] != 2)[..., None], *values)
    else:
        reports = gradcheck(f, *values, *floats)
    assert len(reports) == len(values) + len(floats)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if not c.limit and c.copies == 1
                                  and n not in ("rnn", "lstm", "lstmcell", "gru")])
def test_shape_probe(name: str) -> None:
    case = CASES[name]
    assert output_shape(case.make(), case.shape[1:]) == case.out[1:]
