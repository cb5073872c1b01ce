"""What further layers promise beyond agreeing with PyTorch: masks, blocks, refused arguments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kiso import nn, ops
from kiso.errors import ConfigError, DTypeError, KisoError, ShapeError


def x(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("make", [nn.Dropout1d, nn.Dropout2d, nn.Dropout3d])
def test_spatial_dropout_drops_whole_maps(make: type[nn.Dropout2d]) -> None:
    nn.manual_seed(0)
    ones = np.ones((40, 50, *(3,) * make.ndim), np.float32)
    y = make(0.25)(ones).data.reshape(40, 50, -1)
    assert np.array_equal(y.min(2), y.max(2))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert y.mean() == pytest.approx(1, abs=0.05)
    assert np.array_equal(make(0.25).eval()(ones).data, ones)
    with pytest.raises(ShapeError, match="spatial axes"):
        make()(x(2, 3))


def test_stochastic_depth_drops_rows_or_the_batch() -> None:
    nn.manual_seed(0)
    ones = np.ones((500, 2, 3), np.float32)
    y = nn.StochasticDepth(0.3)(ones).data.reshape(500, -1)
    assert np.array_equal(y.min(1), y.max(1))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.7)}
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.06)
    drawn = [nn.StochasticDepth(0.5, "batch")(ones).data for _ in range(20)]
    assert all(d.min() == d.max() for d in drawn)
    assert {float(d[0, 0, 0]) for d in drawn} == {0.0, 2.0}
    assert np.array_equal(nn.StochasticDepth(0.3).eval()(ones).data, ones)


def test_the_same_key_drops_the_same() -> None:
    layer = nn.Sequential(nn.Dropout2d(0.5), nn.StochasticDepth(0.5), nn.Dropout(0.5))
    key = ops.make_key(1, 2)
    first, second = (nn.functional_call(layer, {}, {}, x(8, 4, 3, 3), key=key, training=True)[0]
                     for _ in range(2))
    assert np.array_equal(first.data, second.data)


def test_squeeze_and_excitation_weights_the_channels() -> None:
    layer, values = nn.SqueezeExcitation(6, 2), x(3, 6, 4, 5)
    W1, W2 = (f.weight.data.reshape(f.weight.shape[:2]) for f in (layer.fc1, layer.fc2))
    hidden = np.maximum(values.mean((2, 3)) @ W1.T, 0)
    scale = 1 / (1 + np.exp(-hidden @ W2.T))
    assert layer(values).data == pytest.approx(values * scale[:, :, None, None], abs=1e-5)
    assert list(layer.state_dict()) == ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert layer.summary((6, 4, 5)).multiply_adds == 24


def test_a_separable_convolution_is_one_of_rank_one() -> None:
    layer = nn.SeparableConv2d(3, 4, 3, 2, 1)
    d, p = layer.depthwise.weight.data, layer.pointwise.weight.data
    full = nn.Conv2d(3, 4, 3, 2, 1)
    full.weight.data, full.bias.data = p * d.swapaxes(0, 1), layer.pointwise.bias.data
    assert layer(x(2, 3, 7, 6)).data == pytest.approx(full(x(2, 3, 7, 6)).data, abs=1e-5)
    assert layer.summary((3, 7, 6)).multiply_adds == 4 * 3 * (3 * 9 + 4 * 3)


def test_local_response_as_in_the_paper() -> None:
    values = x(2, 9, 3, 3)
    y = nn.LocalResponseNorm(5, 0.3, 0.75, 2, average=False)(values).data
    for c in range(9):
        around = (values[:, max(0, c - 2):c + 3] ** 2).sum(1)
        assert y[:, c] == pytest.approx(values[:, c] / (2 + 0.3 * around) ** 0.75, abs=1e-6)
    averaged = nn.LocalResponseNorm(5, 1.5, 0.75, 2)(values).data
    assert averaged == pytest.approx(y, abs=1e-6)


def test_normalisation_between_the_extremes_of_groups() -> None:
    values = x(2, 6, 4, 4)
    layer = nn.LayerNorm((6, 4, 4), elementwise_affine=False)
    assert nn.GroupNorm(1, 6)(values).data == pytest.approx(layer(values).data, abs=1e-5)
    instance = nn.InstanceNorm2d(6)(values).data
    assert nn.GroupNorm(6, 6)(values).data == pytest.approx(instance, abs=1e-5)
    assert instance.mean((2, 3)) == pytest.approx(np.zeros((2, 6)), abs=1e-6)
    assert instance.var((2, 3)) == pytest.approx(np.ones((2, 6)), abs=1e-3)


def test_one_row_at_a_time_and_all_at_once() -> None:
    """A recurrent layer is its cell, step by step."""
    layer, cell, values = nn.LSTM(3, 4), nn.LSTMCell(3, 4), x(5, 2, 3)
    cell.load_state_dict({n.removesuffix("_l0"): v for n, v in layer.state_dict().items()})
    state = None
    output, (h, c) = layer(values)
    for t in range(5):
        state = cell(values[t], state)
        assert output.data[t] == pytest.approx(state[0].data, abs=1e-6)
    assert h.data[0] == pytest.approx(state[0].data, abs=1e-6)
    assert c.data[0] == pytest.approx(state[1].data, abs=1e-6)


def test_the_work_of_recurrent_layers_and_attention_is_counted() -> None:
    layer = nn.GRU(8, 16, bidirectional=True, batch_first=True)
    assert layer.summary((5, 8), batch_size=3).multiply_adds == 2 * 3 * 5 * 3 * 16 * (8 + 16)
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    table = layer.summary([(5, 8)] * 3, batch_size=3)
    assert table.multiply_adds == 3 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.ConvTranspose2d(4, 4, 2, 2, output_padding=2), "output_padding is 2"),
        (lambda: nn.ConvTranspose2d(3, 4, 2, groups=2), "in_channels is 3, which cannot be shared"),
        (lambda: nn.ConvTranspose1d(4, 3, 2, groups=2), "out_channels is 3, which cannot be"),
        (lambda: nn.Upsample(), "give one of them"),
        (lambda: nn.Upsample(2, 2.0), "give one of them"),
        (lambda: nn.Upsample(2.5), "size is 2.5"),
        (lambda: nn.Upsample(scale_factor=(2, 0)), "scale_factor is 0"),
        (lambda: nn.Upsample(2, mode="area"), "mode is 'area'"),
        (lambda: nn.Upsample(2, align_corners=True), "no meaning for mode 'nearest'"),
        (lambda: nn.PixelShuffle(0), "upscale_factor is 0"),
        (lambda: nn.LocalResponseNorm(0), "size is 0"),
        (lambda: nn.LocalResponseNorm(5, -1), "alpha is -1"),
        (lambda: nn.LayerNorm(()), "normalized_shape is empty"),
        (lambda: nn.LayerNorm((3, 0)), "normalized_shape is 0"),
        (lambda: nn.GroupNorm(4, 6), "num_channels is 6, which cannot be shared out"),
        (lambda: nn.InstanceNorm1d(3, eps=0), "eps is 0"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3)), "expected 2 numbers"),
        (lambda: nn.AdaptiveAvgPool1d(0), "output_size is 0"),
        (lambda: nn.LocallyConnected2d(1, 2, 3, 5), r"\(3 \+ 2\*0 - 5\)/1 \+ 1 = -1: no output"),
        (lambda: nn.UntiedConv2d(1, 2, 3, 5), "no output"),
        (lambda: nn.Subsampling2d(0), "channels is 0"),
        (lambda: nn.ScaledTanh(slope=0), "slope is 0"),
        (lambda: nn.Dropout2d(1), "switch off every unit"),
        (lambda: nn.StochasticDepth(0.5, "column"), "mode is 'column'"),
        (lambda: nn.Embedding(4, 3, 4), "padding_idx is 4"),
        (lambda: nn.RNN(3, 4, nonlinearity="sigmoid"), "nonlinearity is 'sigmoid'"),
        (lambda: nn.LSTM(3, 4, 0), "num_layers is 0"),
        (lambda: nn.GRUCell(0, 4), "input_size is 0"),
        (lambda: nn.MultiheadAttention(6, 4), "embed_dim is 6, which cannot be shared out"),
        (lambda: nn.SqueezeExcitation(4, 0), "squeeze_channels is 0"),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(KisoError, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.LayerNorm(5), (2, 4), r"must end in the axes \(5,\)"),
        (nn.GroupNorm(2, 4), (2, 6, 3), r"takes \(N, 4, \.\.\.\)"),
        (nn.InstanceNorm2d(3), (2, 4, 5, 5), r"takes \(N, 3, H, W\)"),
        (nn.InstanceNorm1d(3), (2, 3, 1), "at least 2 are needed"),
        (nn.Upsample(2, mode="bilinear"), (2, 3, 4), "with 2 spatial axes"),
        (nn.PixelShuffle(3), (2, 3, 4, 4), r"3\^2 = 9 channels"),
        (nn.LSTM(3, 4), (5, 2, 4), r"takes \(T, N, 3\)"),
        (nn.GRU(3, 4, batch_first=True), (5, 3), r"takes \(N, T, 3\)"),
        (nn.RNNCell(3, 4), (5, 2), r"takes \(N, 3\)"),
        (nn.SqueezeExcitation(3, 1), (5, 3), r"takes \(N, C, H, W\)"),
    ], ids=repr,
)
def test_other_shapes_are_refused(layer: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        layer(x(*shape))


def test_more_that_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"first state must be \(1, 2, 4\)"):
        nn.GRU(3, 4)(x(5, 2, 3), x(1, 3, 4))
    with pytest.raises(ShapeError, match="attention takes queries"):
        nn.MultiheadAttention(4, 2)(x(3, 2, 4), x(5, 1, 4), x(5, 1, 4))
    with pytest.raises(DTypeError, match="whole numbers"):
        nn.Embedding(4, 3)(x(2, 3))
    with pytest.raises(ConfigError, match="has its own mask"):
        ops.scaled_dot_product_attention(x(2, 4), x(2, 4), x(2, 4), x(2, 2), is_causal=True)
    with pytest.raises(ShapeError, match="with the same E"):
        ops.attention_weights(x(2, 4), x(2, 3))
    with pytest.raises(ShapeError, match=r"W must be \(9, O, 4\)"):
        ops.locally_connected(x(1, 1, 4, 4), x(8, 2, 4), kernel_size=2)
