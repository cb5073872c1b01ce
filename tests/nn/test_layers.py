"""Containers, layers that PyTorch lacks, and arguments that are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kiso import nn, ops
from kiso.errors import ConfigError, ShapeError


def x(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_sequential_is_a_list() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    assert len(net) == 3
    assert [type(layer).__name__ for layer in net] == ["Linear", "ReLU", "Linear"]
    assert net[-1] is net[2]
    part = net[:2]
    assert isinstance(part, nn.Sequential)
    assert part[0] is net[0]
    assert list(part.state_dict()) == ["0.weight", "0.bias"]
    assert np.array_equal(net(x(5, 3)).data, net[2](part(x(5, 3))).data)
    assert net.append(nn.Softmax()) is net
    assert net(x(5, 3)).data.sum(1) == pytest.approx(np.ones(5), rel=1e-6)
    net[3] = nn.Identity()
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize(
    ("layer", "hint"),
    [(nn.ReLU, r"ReLU\(\) with parentheses"), (ops.relu, "a Module whose forward"),
     ([nn.ReLU()], "one by one"), (None, "one by one")],
)
def test_what_is_no_layer_is_refused(layer: object, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        nn.Sequential(nn.ReLU(), layer)  # type: ignore[arg-type]


def test_residual_adds_body_and_shortcut() -> None:
    body, way = nn.Linear(3, 4), nn.Linear(3, 4)
    block = nn.Residual(body, nn.ReLU(), shortcut=way)
    expected = ops.relu(body(x(5, 3))) + way(x(5, 3))
    assert np.array_equal(block(x(5, 3)).data, expected.data)
    assert list(block.state_dict()) == ["body.0.weight", "body.0.bias", "shortcut.weight",
                                        "shortcut.bias"]
    plain = nn.Residual(nn.Identity())
    assert np.array_equal(plain(x(2, 3)).data, 2 * x(2, 3))
    with pytest.raises(ShapeError, match=r"body gives \(5, 4\), the shortcut \(5, 3\)"):
        nn.Residual(nn.Linear(3, 4))(x(5, 3))


def test_parallel_joins_or_adds() -> None:
    a, b = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 5, 3, padding=1)
    y = nn.Parallel(a, b)(x(4, 2, 5, 5))
    assert y.shape == (4, 8, 5, 5)
    assert np.array_equal(y.data[:, 3:], b(x(4, 2, 5, 5)).data)
    total = nn.Parallel(a, a, a, merge="add")(x(4, 2, 5, 5))
    assert total.data == pytest.approx(3 * a(x(4, 2, 5, 5)).data, rel=1e-6)
    with pytest.raises(ShapeError, match="they are added"):
        nn.Parallel(a, b, merge="add")(x(4, 2, 5, 5))


def test_split_softmax() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.LogSoftmax())
    scores, kind = nn.split_softmax(net)
    assert kind == "log_softmax"
    assert scores.state_dict().keys() == net.state_dict().keys()
    assert ops.log_softmax(scores(x(2, 3))).data == pytest.approx(net(x(2, 3)).data)
    assert nn.split_softmax(scores) == (scores, None)


def test_global_pooling() -> None:
    for shape in [(4, 3, 7), (4, 3, 7, 2), (4, 3, 2, 3, 4)]:
        values, axes = x(*shape), tuple(range(2, len(shape)))
        assert nn.GlobalAvgPool()(values).data == pytest.approx(values.mean(axes), abs=1e-6)
        assert np.array_equal(nn.GlobalMaxPool()(values).data, values.max(axes))


def test_pad_and_reshape() -> None:
    assert np.array_equal(nn.Pad(1)(x(2, 1, 3, 3)).data,
                          np.pad(x(2, 1, 3, 3), [(0, 0), (0, 0), (1, 1), (1, 1)]))
    assert np.array_equal(nn.Pad([(0, 2)], value=7)(x(2, 3)).data,
                          np.pad(x(2, 3), [(0, 0), (0, 2)], constant_values=7))
    assert np.array_equal(nn.Reshape(2, -1)(x(5, 6)).data, x(5, 6).reshape(5, 2, 3))
    with pytest.raises(ShapeError, match="in layer Reshape"):
        nn.Reshape(4, 4)(x(5, 6))
    assert nn.Flatten()(x(3)).shape == (3, 1)


def test_im2col_makes_a_convolution_a_matrix_product() -> None:
    layer = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    columns = nn.Im2Col(3, padding=1)(x(4, 2, 5, 5))  # (N, C*9, L)
    product = ops.reshape(layer.weight, (3, 18)) @ columns
    assert product.data.reshape(4, 3, 5, 5) == pytest.approx(layer(x(4, 2, 5, 5)).data, abs=1e-5)


def test_step_is_a_threshold() -> None:
    values = np.float32([[-1, 0, 2]])
    assert nn.Step()(values).data.tolist() == [[0, 0, 1]]


def test_dropout_keeps_the_mean_and_scales() -> None:
    nn.manual_seed(0)
    y = nn.Dropout(0.25)(np.ones((200, 200), np.float32)).data
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert y.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(0, 3), "Linear: in_features is 0; expected a whole number of at least"),
        (lambda: nn.Linear(3, 2.5), "out_features is 2.5"),
        (lambda: nn.Linear(True, 2), "in_features is True"),
        (lambda: nn.Conv2d(1, 2, 0), "Conv2d: kernel_size is 0"),
        (lambda: nn.Conv2d(1, 2, (3, 3, 3)), "or 2 of them, one for each spatial axis"),
        (lambda: nn.Conv2d(1, 2, 3, stride=0), "stride is 0"),
        (lambda: nn.Conv2d(1, 2, 3, padding=-1), "padding is -1"),
        (lambda: nn.Conv2d(1, 2, 3, padding="full"), "'full'; expected one of 'same', 'valid'"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "in_channels is 3, which cannot be shared out"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), "out_channels is 3, which cannot be shared out"),
        (lambda: nn.MaxPool2d(0), "MaxPool2d: kernel_size is 0"),
        (lambda: nn.AvgPool1d(2, "2"), "AvgPool1d: stride is '2'"),
        (lambda: nn.BatchNorm2d(0), "num_features is 0"),
        (lambda: nn.BatchNorm2d(3, eps=0), "eps is 0; expected a number above 0"),
        (lambda: nn.BatchNorm2d(3, momentum=1.5), "momentum is 1.5"),
        (lambda: nn.Dropout(1.5), "Dropout: p is 1.5; expected a number of at least 0 and at most"),
        (lambda: nn.Dropout(1), "switch off every unit"),
        (lambda: nn.Dropout(float("nan")), "p is nan"),
        (lambda: nn.GELU("erf"), "approximate is 'erf'"),
        (lambda: nn.Hardtanh(1, 0), "must be below"),
        (lambda: nn.Reshape(0), r"shape is \(0,\)"),
        (lambda: nn.Reshape(-1, -1), "one of which may be -1"),
        (lambda: nn.Pad(-1), "padding is -1"),
        (lambda: nn.Pad([1, 2]), "pairs"),
        (lambda: nn.Parallel(), "no branch"),
        (lambda: nn.Parallel(nn.ReLU(), merge="mean"), "'mean'; expected one of 'concat', 'add'"),
        (lambda: nn.MSELoss("average"), "reduction is 'average'"),
        (lambda: nn.HuberLoss(delta=0), "delta is 0"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2), "label_smoothing is 2"),
        (lambda: nn.CrossEntropyLoss(weight=[1.0, -1.0]), "at least 0 for each class"),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_batch_norm_refuses_other_shapes() -> None:
    with pytest.raises(ShapeError, match=r"takes \(N, 3, H, W\), but the input is \(2, 4, 5, 5\)"):
        nn.BatchNorm2d(3)(x(2, 4, 5, 5))
    with pytest.raises(ShapeError, match=r"takes \(N, 3\) or \(N, 3, \.\.\.\)"):
        nn.BatchNorm1d(3)(x(2, 3, 4, 4))
    with pytest.raises(ShapeError, match="larger batch"):
        nn.BatchNorm1d(3)(x(1, 3))
