"""Summary: numbers of known nets, any user-written module, no computing."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kiso import nn, ops
from kiso.errors import ConfigError, ShapeError
from kiso.text import set_language


def test_rows_of_a_known_net() -> None:
    net = nn.from_text("conv30k5 relu pool2 flatten linear100 relu linear10", (1, 28, 28))
    s = net.summary((1, 28, 28))
    assert [r.output_shape for r in s.rows] == [
        (1, 30, 24, 24), (1, 30, 24, 24), (1, 30, 12, 12), (1, 4320), (1, 100), (1, 100), (1, 10)]
    assert [r.parameters for r in s.rows] == [780, 0, 0, 0, 432100, 0, 1010]
    assert [r.multiply_adds for r in s.rows] == [30 * 24 * 24 * 25, 0, 0, 0, 432000, 0, 1000]
    assert [r.activation_bytes for r in s.rows] == [4 * n for n in
                                                   (17280, 17280, 4320, 0, 100, 100, 10)]
    assert (s.parameters, s.trainable_parameters) == (433890, 433890)
    assert s.multiply_adds == 865000
    assert s.output_shape == (10,)
    assert s.input_shapes == ((1, 1, 28, 28),)
    assert nn.Linear(3, 2).summary(3).output_shape == (2,)
    assert net.summary((1, 28, 28), batch_size=7).multiply_adds == 7 * 865000


def test_vgg_16_as_published() -> None:
    text = ("{conv64 relu} x2 pool2 {conv128 relu} x2 pool2 {conv256 relu} x3 pool2 "
            "{conv512 relu} x3 pool2 {conv512 relu} x3 pool2 {linear4096 relu} x2 linear1000")
    s = nn.from_text(text, (3, 224, 224)).summary((3, 224, 224))
    assert s.parameters == 138_357_544
    assert s.multiply_adds == pytest.approx(15.47e9, rel=1e-3)


def test_grouped_convolution_and_batched_products() -> None:
    s = nn.Conv2d(4, 8, 3, groups=4, padding=1).summary((4, 5, 5))
    assert s.multiply_adds == 8 * 25 * 9
    s = nn.Linear(6, 5).summary((7, 6), batch_size=2)
    assert s.multiply_adds == 2 * 7 * 6 * 5


class Written(nn.Module):
    """Two inputs, two outputs, a layer used twice, one never, work of its own."""

    def __init__(self) -> None:
        self.shared = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 9)
        self.w = nn.Parameter(np.ones((4, 3)))

    def forward(self, a, b):
        y = self.shared(self.shared(a)) + b
        return y @ self.w, y.sum()


def test_a_written_module() -> None:
    s = Written().summary([(4,), (4,)])
    assert [(r.name, r.parameters, r.multiply_adds) for r in s.rows] == [
        ("", 12, 12), ("shared", 20, 16), ("shared", 0, 16), ("unused", 45, 0)]
    assert s.rows[0].output_shape == [(1, 3), ()]
    assert s.rows[3].output_shape is None
    assert s.parameters == sum(r.parameters for r in s.rows) == 77
    assert s.output_shape == [(3,), ()]


def test_a_module_that_asks_for_values_is_computed() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            self.a = nn.Linear(3, 2)
            self.b = nn.Linear(3, 5)

        def forward(self, x):
            return self.a(x) if float(self.b(x).sum()) > 1e9 else self.b(x)

    s = Branches().summary((3,))
    assert s.output_shape == (5,)
    assert [(r.name, r.multiply_adds) for r in s.rows] == [
        ("", 0), ("b", 15), ("b", 15), ("a", 0)]


def test_fixed_parameters_are_told_apart() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    net[0].weight.requires_grad = False
    s = net.summary((3,))
    assert (s.parameters, s.trainable_parameters) == (26, 14)
    assert "of which fixed: 12" in str(s)


def test_it_leaves_the_model_alone() -> None:
    net = nn.from_text("conv4 bn relu dropout0.5 gap linear3", (1, 8, 8))
    before = net.state_dict()
    net.summary((1, 8, 8))
    assert net.training
    assert all(np.array_equal(before[n], v) for n, v in net.state_dict().items())


def test_text_html_and_json() -> None:
    s = nn.from_text("conv4 relu gap linear3", (1, 8, 8)).summary((1, 8, 8))
    lines = str(s).splitlines()
    assert lines[0].split() == ["Layer", "Output", "shape", "Parameters", "Multiply-adds",
                                "Activations"]
    ends = {len(line) for line in lines[2:6]}
    assert len(ends) == 1  # aligned
    assert "Parameters: 55 (220 B)" in str(s)
    assert s._repr_html_().count("<tr>") == 5
    assert json.loads(json.dumps(s.to_dict()))["parameters"] == 55


def test_it_speaks_japanese() -> None:
    s = nn.Linear(2, 3).summary((2,))
    try:
        set_language("ja")
        text = str(s)
    finally:
        set_language(None)
    assert "パラメータ" in text


def test_misfits_and_bad_shapes() -> None:
    with pytest.raises(ShapeError, match=r"in layer 0 Linear"):
        nn.Sequential(nn.Linear(3, 2)).summary((4,))
    for shape in ["3", (0,), (1.5,), [(3,), (-1,)]]:
        with pytest.raises(ConfigError, match=r"summary: input shape"):
            nn.Linear(3, 2).summary(shape)


def test_integer_inputs() -> None:
    class Embedding(nn.Module):
        def __init__(self) -> None:
            self.table = nn.Parameter(np.ones((9, 4)))

        def forward(self, rows):
            return ops.take(self.table, rows)

    assert Embedding().summary((7,), dtype="int64").output_shape == (7, 4)
