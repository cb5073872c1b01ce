"""Models by name: sizes, what fits what, near names, and that the default learns digits."""

from __future__ import annotations

import numpy as np
import pytest

from kiso import models, nn, ops, optim
from kiso.autograd import no_grad
from kiso.errors import ConfigError, DescriptionError


def test_mlp_of_any_depth() -> None:
    net = models.mlp(784, 100, 10)
    assert nn.to_text(net) == "linear100 relu linear10"
    assert net.parameter_count() == 784 * 100 + 100 + 1000 + 10
    assert nn.to_text(models.mlp(5, 4, 3, 2, activation="tanh")) == (
        "linear4 tanh linear3 tanh linear2")
    with pytest.raises(ConfigError, match=r"mlp\(784, 100, 10\)"):
        models.mlp(784)
    with pytest.raises(DescriptionError, match="Did you mean"):
        models.mlp(4, 3, 2, activation="rellu")


@pytest.mark.parametrize(
    "shape", [(1, 4, 4), (1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32), (3, 64, 64),
              (3, 224, 224), (3, 20, 90), (1, 5, 7)],
    ids=str)
def test_cnn_adapts_to_the_image(shape: tuple[int, int, int]) -> None:
    net = models.cnn(shape, 7)
    s = net.summary(shape)
    assert s.output_shape == (7,)
    assert s.parameters < 2_000_000
    last = [r.output_shape for r in s.rows if len(r.output_shape or ()) == 4][-1]
    assert min(last[2:]) <= 4
    assert nn.to_text(nn.from_text(nn.to_text(net), shape)) == nn.to_text(net)


def test_cnn_needs_images() -> None:
    for shape in [(1, 3, 8), (12,), (3, 8)]:
        with pytest.raises(ConfigError, match="takes images"):
            models.cnn(shape, 2)


@pytest.mark.parametrize("name", ["cnn", "linear", "mlp", "tabular"])
def test_every_description_builds_for_images(name: str) -> None:
    net = models.create(name, (3, 16, 16), 5)
    y = net(np.zeros((2, 3, 16, 16), np.float32))
    assert y.shape == (2, 5)


@pytest.mark.parametrize("name", ["linear", "mlp", "tabular", " MLP "])
def test_names_for_tables(name: str) -> None:
    assert models.create(name, (13,), 1)(np.zeros((2, 13), np.float32)).shape == (2, 1)


def test_create_takes_descriptions() -> None:
    net = models.create("conv30k5 relu pool2 linear100 relu linear10 softmax", (1, 28, 28), 10)
    assert len(net) == 8
    assert models.text_of(models.build("mlp", (4,), 3)) == "linear100 relu linear3"


def test_wrong_names_get_near_ones() -> None:
    with pytest.raises(DescriptionError, match=r"(?s)no word.*Did you mean cnn\? `kiso models` "):
        models.create("cnnn", (1, 8, 8), 10)
    with pytest.raises(DescriptionError, match=r"Did you mean relu") as caught:
        models.create("linear5 rleu", (4,), 10)
    assert "kiso models" not in str(caught.value)


def test_wrong_number_of_outputs() -> None:
    with pytest.raises(ConfigError, match=r"puts out \(9,\).* 10 values .*linear10"):
        models.create("flatten linear9", (1, 8, 8), 10)
    with pytest.raises(ConfigError, match=r"puts out \(16, 8, 8\)"):
        models.create("conv16", (1, 8, 8), 10)


def test_defaults() -> None:
    assert models.default_model("image", (1, 8, 8), 10) == "cnn"
    assert models.default_model("image", (1, 2, 8), 10) == "mlp"
    assert models.default_model("table", (13,), 1) == "tabular"
    for kind, shape in [("image", (1, 8, 8)), ("image", (1, 2, 8)), ("table", (13,))]:
        models.create(models.default_model(kind, shape, 3), shape, 3)


def test_tabular_function() -> None:
    assert nn.to_text(models.tabular(12, 1)) == "linear64 relu linear64 relu linear1"


def test_the_default_net_learns_digits() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    x = ((digits.images[:, None] - 4.9) / 6).astype(np.float32)
    y = digits.target.astype(np.int64)
    rows = np.random.default_rng(1).permutation(len(x))
    train, test = rows[:1257], rows[1257:]
    nn.manual_seed(0)
    net = models.create("cnn", (1, 8, 8), 10)
    optimizer = optim.Adam(lr=2e-3).bind(net)
    for epoch in range(5):
        np.random.default_rng(epoch).shuffle(train)
        for batch in np.array_split(train, 20):
            optimizer.zero_grad()
            ops.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    net.eval()
    with no_grad():
        accuracy = np.mean(net(x[test]).argmax(1).numpy() == y[test])
    assert accuracy >= 0.97
