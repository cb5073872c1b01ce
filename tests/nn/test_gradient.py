"""Gradients of a whole net against numeric differences and PyTorch (bar 6 of the foundations)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kiso import nn, ops
from kiso.autograd import grad, numeric_gradient

KEY = ops.make_key(11, 3)


def net() -> nn.Sequential:
    nn.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)), nn.Tanh(),
        nn.AvgPool2d(3, 1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(3, 5), nn.SiLU(),
        nn.Linear(5, 4))


def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.standard_normal((6, 2, 6, 6)), np.arange(6) % 4


def loss_of(model: nn.Module, x: Any, t: Any) -> Any:
    with nn.random_key(KEY):
        return nn.CrossEntropyLoss()(model(x), t)


def test_whole_net_against_numeric_differences() -> None:
    model = net().astype("float64")
    x, t = batch()
    params = dict(model.named_parameters())
    gradients = grad(loss_of(model, x, t), list(params.values()))
    assert any(np.any(np.abs(g.data) > 1e-2) for g in gradients)
    for (name, parameter), analytic in zip(params.items(), gradients, strict=True):
        numeric = numeric_gradient(lambda: loss_of(model, x, t).item(), parameter.data)
        scale = max(np.abs(numeric).max(), np.abs(analytic.data).max(), 1e-2)
        error = np.abs(analytic.data - numeric).max() / scale
        assert error < 1e-6, f"{name}: relative error {error:.2g}"


def test_a_wrong_gradient_would_be_found() -> None:
    model = net().astype("float64")
    x, t = batch()
    bias = model[-1].bias
    (analytic,) = grad(loss_of(model, x, t), [bias])
    numeric = numeric_gradient(lambda: loss_of(model, x, t * 0).item(), bias.data)
    assert np.abs(analytic.data - numeric).max() > 1e-2


def test_whole_net_against_pytorch() -> None:
    torch = pytest.importorskip("torch")
    t = torch.nn

    class Residual(t.Module):
        def __init__(self, *layers: Any) -> None:
            super().__init__()
            self.body = t.Sequential(*layers)

        def forward(self, x: Any) -> Any:
            return self.body(x) + x

    class Mask(t.Module):  # PyTorch's dropout with our mask
        def forward(self, x: Any) -> Any:
            mask = ops.dropout(np.ones(tuple(x.shape), np.float32), KEY, p=0.3, stream=0)
            return x * torch.tensor(mask)

    theirs = t.Sequential(
        t.Conv2d(2, 3, 3, padding=1), t.BatchNorm2d(3), t.ReLU(), t.MaxPool2d(2),
        Residual(t.Conv2d(3, 3, 3, padding=1, bias=False), t.BatchNorm2d(3)), t.Tanh(),
        t.AvgPool2d(3, 1), t.Flatten(), Mask(), t.Linear(3, 5), t.SiLU(), t.Linear(5, 4))
    ours = net()
    theirs.load_state_dict({n: torch.tensor(v) for n, v in ours.state_dict().items()},
                           strict=False)
    x, y = batch()
    x = x.astype(np.float32)
    loss, other = loss_of(ours, x, y), t.CrossEntropyLoss()(theirs(torch.tensor(x)),
                                                            torch.tensor(y))
    loss.backward()
    other.backward()
    assert loss.item() == pytest.approx(other.item(), rel=1e-5)
    found = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = found[name].grad.numpy()
        error = np.abs(parameter.grad.data - expected).max() / max(1e-2, np.abs(expected).max())
        assert error < 1e-5, f"{name}: relative error {error:.2g}"
    buffers = dict(theirs.named_buffers())
    for name, buffer in ours.named_buffers():
        np.testing.assert_allclose(buffer.data, buffers[name].numpy(), rtol=1e-5, atol=1e-6)
