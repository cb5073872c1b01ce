"""LeNet-5 as in the paper: its numbers, its own layers; the zip code reader of 1989."""

from __future__ import annotations

import numpy as np
import pytest

from kiso import nn, ops
from kiso.autograd import Tensor
from kiso.errors import ConfigError, ShapeError
from kiso.nn.lenet import LENET5_C3

TEXT = ("conv6k5 subsample2 scaledtanh lenetc3 subsample2 scaledtanh conv120k5 scaledtanh flatten "
        "linear84 scaledtanh linear10")


def x(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_the_numbers_of_the_paper() -> None:
    net = nn.from_text(TEXT, (1, 32, 32))
    assert nn.to_text(net) == TEXT
    table = net.summary((1, 32, 32))
    found = {r.layer.split("(")[0] + r.name: (r.parameters, r.multiply_adds) for r in table.rows}
    # C1, S2, C3, S4, C5, F6; connections less those to biases: 122,304 - 4,704 and so on
    assert found["Conv2d0"] == (156, 117_600)
    assert found["Subsampling2d1"][0] == 12
    assert found["SparseConv2d3"] == (1516, 150_000)
    assert found["Subsampling2d4"][0] == 32
    assert found["Conv2d6"] == (48_120, 48_000)
    assert found["Linear9"] == (10_164, 10_080)
    assert table.parameters == 60_000 + 850
    assert table.output_shape == (10,)


def test_the_table_of_c3() -> None:
    assert [len(row) for row in LENET5_C3] == [3] * 6 + [4] * 9 + [6]
    seen = np.bincount(np.concatenate(LENET5_C3))
    assert seen.tolist() == [10] * 6  # every map of S2 is seen by ten maps of C3


def test_a_sparse_convolution_is_one_with_zeros() -> None:
    table = ((2, 0), (1,), (0, 1, 2))
    layer = nn.SparseConv2d(table, (3, 2), 1)
    dense, k = np.zeros((3, 3, 3, 2), np.float32), 0
    for o, row in enumerate(table):
        for c in row:
            dense[o, c] = layer.weight.data[k]
            k += 1
    layer.bias.data = np.float32([1, 2, 3])
    expected = ops.conv2d(x(2, 3, 5, 4), dense, layer.bias.data, padding=1)
    np.testing.assert_allclose(layer(x(2, 3, 5, 4)).data, expected, rtol=1e-6)
    assert layer.weight.shape == (6, 3, 2)
    for wrong in [(), ((),), ((0, 0),), ((-1,),)]:
        with pytest.raises(ConfigError, match="table is"):
            nn.SparseConv2d(wrong, 3)


def test_subsampling_is_a_scaled_sum() -> None:
    layer, values = nn.Subsampling2d(3, (2, 3)), x(2, 3, 4, 6)
    windows = values.reshape(2, 3, 2, 2, 2, 3)
    assert layer(values).data == pytest.approx(windows.mean((3, 5)), abs=1e-6)
    layer.weight.data, layer.bias.data = np.float32([1, 2, 3]), np.float32([4, 5, 6])
    column = (3, 1, 1)
    expected = windows.sum((3, 5)) * np.float32([1, 2, 3]).reshape(column) + np.float32(
        [4, 5, 6]).reshape(column)
    assert layer(values).data == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ShapeError, match=r"takes \(N, 3, H, W\)"):
        layer(x(2, 4, 4, 6))


def test_scaled_tanh_passes_through_one() -> None:
    y = nn.ScaledTanh()(np.float32([-1, 0, 1])).data
    assert y == pytest.approx([-1, 0, 1], abs=1e-4)
    t = Tensor(np.float64([0.3, -2.0]))
    expected = 1.7159 * np.tanh(2 / 3 * t.data)
    assert nn.ScaledTanh()(t).data == pytest.approx(expected, rel=1e-12)


def test_the_zip_code_reader() -> None:
    """H1: 12 maps of 8x8 units, 5x5 filters that are shared, biases that are not."""
    layer = nn.from_text("conv12k5s2p2untied", (1, 16, 16))[0]
    assert isinstance(layer, nn.UntiedConv2d)
    assert layer.bias.shape == (12, 8, 8) and layer.parameter_count() == 12 * 25 + 12 * 64
    layer.bias.data = x(12, 8, 8)
    plain = ops.conv2d(x(3, 1, 16, 16), layer.weight.data, stride=2, padding=2)
    assert layer(x(3, 1, 16, 16)).data == pytest.approx(plain + x(12, 8, 8), abs=1e-5)
    with pytest.raises(ShapeError, match="that it was made for"):
        layer(x(1, 1, 18, 16))


def test_the_biases_of_units_are_no_weights() -> None:
    """`init.apply` leaves them, and weight decay too, which goes by the name."""
    layer = nn.UntiedConv2d(1, 2, 6, 3)
    nn.init.apply(layer, "normal", std=1.0)
    assert not layer.bias.data.any() and layer.weight.data.std() > 0.5
    assert nn.LocallyConnected2d(1, 2, 6, 3).own_parameters().keys() == {"weight", "bias"}


@pytest.mark.parametrize("ndim", [1, 2])
def test_local_connections_one_place_at_a_time(ndim: int) -> None:
    size, kernel, stride = (7, 6)[:ndim], (3, 2)[:ndim], (2, 1)[:ndim]
    make = nn.LocallyConnected1d if ndim == 1 else nn.LocallyConnected2d
    layer, values = make(2, 3, size, kernel, stride, 1), x(4, 2, *size)
    layer.bias.data = x(*layer.bias.shape)
    padded = np.pad(values, [(0, 0), (0, 0), *[(1, 1)] * ndim])
    y = layer(values).data
    for place, i in enumerate(np.ndindex(y.shape[2:])):
        window = padded[:, :, *(slice(a * t, a * t + k)
                                for a, t, k in zip(i, stride, kernel, strict=True))]
        unit = window.reshape(4, -1) @ layer.weight.data[place].T + layer.bias.data[:, *i]
        assert y[:, :, *i] == pytest.approx(unit, abs=1e-5)
    with pytest.raises(ShapeError, match="that it was made for"):
        layer(x(4, 2, *(n + 1 for n in size)))
    assert layer.summary((2, *size)).multiply_adds == layer.weight.size


def test_shared_weights_are_a_convolution() -> None:
    layer, plain = nn.LocallyConnected2d(2, 3, 5, 3), nn.Conv2d(2, 3, 3)
    layer.weight.data = np.tile(plain.weight.data.reshape(1, 3, 18), (9, 1, 1))
    assert layer(x(4, 2, 5, 5)).data == pytest.approx(plain(x(4, 2, 5, 5)).data, abs=1e-5)
