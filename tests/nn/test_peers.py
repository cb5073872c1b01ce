"""Every layer against PyTorch's, with the state dict carried over: value, gradients, buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kiso import nn
from kiso.autograd import Tensor

torch = pytest.importorskip("torch")

# (class, arguments, input shape): the same names and arguments build both layers.
LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("Linear", (5, 3), {}, (4, 5)),
    ("Linear", (5, 3, False), {}, (2, 4, 5)),
    ("Conv1d", (4, 6, 3, 2, 1), {"groups": 2}, (2, 4, 9)),
    ("Conv2d", (3, 5, 3), {}, (2, 3, 6, 7)),
    ("Conv2d", (2, 4, (3, 2), (2, 1), (1, 2), (1, 2), 2, False), {}, (2, 2, 7, 6)),
    ("Conv2d", (2, 4, 3), {"padding": "same", "dilation": 2}, (2, 2, 7, 6)),
    ("Conv3d", (2, 3, 2, 1, 1), {}, (2, 2, 3, 4, 3)),
    ("MaxPool1d", (3, 2, 1), {}, (2, 3, 8)),
    ("MaxPool2d", (2,), {}, (2, 3, 6, 8)),
    ("MaxPool2d", (3, 2, 1), {"ceil_mode": True}, (2, 3, 6, 7)),
    ("MaxPool3d", (2,), {}, (2, 2, 4, 4, 5)),
    ("AvgPool1d", (2,), {}, (2, 3, 8)),
    ("AvgPool2d", (3, 2, 1, True, False), {}, (2, 3, 6, 7)),
    ("AvgPool3d", (2,), {}, (2, 2, 4, 4, 5)),
    ("BatchNorm1d", (5,), {}, (6, 5)),
    ("BatchNorm1d", (5, 1e-3, 0.3), {}, (6, 5, 4)),
    ("BatchNorm2d", (3, 1e-5, 0.1, False), {}, (4, 3, 5, 5)),
    ("BatchNorm3d", (3,), {}, (2, 3, 2, 3, 4)),
    ("Flatten", (), {}, (2, 3, 4)),
    ("Flatten", (0, 1), {}, (2, 3, 4)),
    ("Identity", (), {}, (2, 3)),
    ("ReLU", (), {}, (3, 4)),
    ("LeakyReLU", (0.2,), {}, (3, 4)),
    ("ELU", (0.7,), {}, (3, 4)),
    ("GELU", (), {}, (3, 4)),
    ("GELU", ("tanh",), {}, (3, 4)),
    ("SiLU", (), {}, (3, 4)),
    ("Sigmoid", (), {}, (3, 4)),
    ("Tanh", (), {}, (3, 4)),
    ("Softplus", (), {}, (3, 4)),
    ("ReLU6", (), {}, (3, 4)),
    ("Hardtanh", (-0.5, 0.7), {}, (3, 4)),
    ("Hardsigmoid", (), {}, (3, 4)),
    ("Hardswish", (), {}, (3, 4)),
    ("Softmax", (1,), {}, (3, 4)),
    ("LogSoftmax", (1,), {}, (3, 4)),
    ("Dropout", (0.0,), {}, (3, 4)),
]


def label(case: tuple[Any, ...]) -> str:
    return f"{case[0]}-{case[1]}-{'x'.join(map(str, case[3]))}"


def carried(ours: nn.Module) -> dict[str, Any]:
    return {n: torch.tensor(v) for n, v in ours.state_dict().items()}


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("case", LAYERS, ids=label)
def test_layer(case: tuple[Any, ...], training: bool) -> None:
    name, args, options, shape = case
    ours = getattr(nn, name)(*args, **options)
    theirs = getattr(torch.nn, name)(*args, **options)
    rng = np.random.default_rng(0)
    for slot in ours.slots():  # away from 0 and 1, so that no part can hide
        values = rng.uniform(0.5, 1.5, slot.value.shape).astype(np.float32)
        slot.value.data = values
    missing = theirs.load_state_dict(carried(ours), strict=False)
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) <= {"num_batches_tracked"}
    ours.train(training)
    theirs.train(training)
    x = rng.standard_normal(shape).astype(np.float32)
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = ours(a), theirs(b)
    weights = rng.standard_normal(tuple(z.shape)).astype(np.float32)
    (y * weights).sum().backward()
    (z * torch.tensor(weights)).sum().backward()
    close = {"rtol": 2e-5, "atol": 2e-5}
    np.testing.assert_allclose(y.data, z.detach().numpy(), **close)
    np.testing.assert_allclose(a.grad.data, b.grad.numpy(), **close)
    found = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        np.testing.assert_allclose(parameter.grad.data, found[key].grad.numpy(), rtol=1e-4,
                                   atol=1e-4)
    kept = dict(theirs.named_buffers())
    for key, buffer in ours.named_buffers():
        np.testing.assert_allclose(buffer.data, kept[key].numpy(), **close)


LOSSES = [
    ("CrossEntropyLoss", {}, "classes"),
    ("CrossEntropyLoss", {"weight": [0.5, 1.0, 2.0], "label_smoothing": 0.0}, "classes"),
    ("CrossEntropyLoss", {"label_smoothing": 0.1, "reduction": "none"}, "classes"),
    ("CrossEntropyLoss", {"reduction": "sum"}, "shares"),
    ("NLLLoss", {"weight": [0.5, 1.0, 2.0]}, "classes"),
    ("BCEWithLogitsLoss", {}, "shares"),
    ("MSELoss", {"reduction": "sum"}, "numbers"),
    ("L1Loss", {}, "numbers"),
    ("HuberLoss", {"reduction": "mean", "delta": 0.6}, "numbers"),
    ("KLDivLoss", {}, "shares"),
]


@pytest.mark.parametrize(("name", "options", "kind"), LOSSES)
def test_loss(name: str, options: dict[str, Any], kind: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((6, 3)).astype(np.float32)
    if name in ("NLLLoss", "KLDivLoss"):
        x = x - np.log(np.exp(x).sum(1, keepdims=True))
    shares = rng.dirichlet(np.ones(3), 6).astype(np.float32)
    t = {"classes": np.arange(6) % 3, "shares": shares,
         "numbers": rng.standard_normal((6, 3)).astype(np.float32)}[kind]
    theirs_options = {k: torch.tensor(v) if k == "weight" else v for k, v in options.items()}
    if name == "KLDivLoss":
        theirs_options["reduction"] = "batchmean"
    a, b = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ours = getattr(nn, name)(**options)(a, t)
    theirs = getattr(torch.nn, name)(**theirs_options)(b, torch.tensor(t))
    ours.sum().backward()
    theirs.sum().backward()
    np.testing.assert_allclose(ours.data, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a.grad.data, b.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_im2col_is_unfold() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 7)).astype(np.float32)
    ours = nn.Im2Col((3, 2), (1, 2), (1, 0), (2, 1))(x)
    theirs = torch.nn.Unfold((3, 2), (1, 2), (1, 0), (2, 1))(torch.tensor(x))
    np.testing.assert_array_equal(ours.data, theirs.numpy())


def test_a_checkpoint_of_a_whole_net_carries_over() -> None:
    ours = nn.from_text("conv4k3 bn relu pool2 flatten linear8 tanh linear3", (2, 8, 8))
    t = torch.nn
    theirs = t.Sequential(t.Conv2d(2, 4, 3), t.BatchNorm2d(4), t.ReLU(), t.MaxPool2d(2),
                          t.Flatten(), t.Linear(36, 8), t.Tanh(), t.Linear(8, 3))
    state = {n: v for n, v in theirs.state_dict().items() if "num_batches" not in n}
    ours.load_state_dict(state)
    x = np.random.default_rng(0).standard_normal((5, 2, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(ours(x).data, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5,
                               atol=1e-5)
