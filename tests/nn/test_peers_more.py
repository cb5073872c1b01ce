"""The rest of the layers against PyTorch's: value, gradients of the input and of all parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kiso import nn, ops
from kiso.autograd import Tensor

torch = pytest.importorskip("torch")

CLOSE = {"rtol": 3e-5, "atol": 3e-5}

# (class, arguments, options, input shape): the same names and arguments build both layers.
LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ("ConvTranspose1d", (4, 6, 3), {}, (2, 4, 5)),
    ("ConvTranspose1d", (4, 6, 4, 3, 1, 2, 2), {}, (2, 4, 5)),
    ("ConvTranspose2d", (3, 5, 2, 2), {}, (2, 3, 4, 5)),
    ("ConvTranspose2d", (3, 4, 3, 2, 1, 1), {}, (2, 3, 4, 5)),
    ("ConvTranspose2d", (4, 6, (3, 2), (1, 3), (0, 1), (0, 2), 2, False, (2, 1)), {}, (1, 4, 3, 4)),
    ("ConvTranspose2d", (2, 3, 3, 1, 1, 1, 1, True, 2), {}, (2, 2, 5, 5)),  # within the padding
    ("ConvTranspose2d", (2, 3, 2, 1, 1, 2, 1, True, 3), {}, (2, 2, 4, 5)),  # and beyond it
    ("ConvTranspose3d", (2, 3, 2, 2, 1, 1), {}, (1, 2, 2, 3, 3)),
    ("Upsample", (), {"scale_factor": 2}, (2, 3, 4, 5)),
    ("Upsample", (), {"scale_factor": (2.0, 3.0)}, (2, 3, 4, 5)),
    ("Upsample", (), {"scale_factor": 1.5}, (2, 3, 5, 7)),
    ("Upsample", (), {"size": (7, 3)}, (2, 3, 5, 7)),
    ("Upsample", (), {"size": 9}, (2, 3, 4)),
    ("Upsample", (), {"size": 6, "mode": "linear"}, (2, 3, 4)),
    ("Upsample", (), {"scale_factor": 2, "mode": "bilinear"}, (2, 3, 4, 5)),
    ("Upsample", (), {"scale_factor": 2.5, "mode": "bilinear"}, (2, 3, 4, 5)),
    ("Upsample", (), {"scale_factor": 2, "mode": "bilinear", "align_corners": True}, (2, 3, 4, 5)),
    ("Upsample", (), {"size": (3, 8), "mode": "bilinear"}, (2, 3, 5, 5)),
    ("Upsample", (), {"size": (1, 8), "mode": "bilinear", "align_corners": True}, (2, 3, 5, 1)),
    ("Upsample", (), {"scale_factor": 2, "mode": "trilinear"}, (1, 2, 2, 3, 2)),
    ("PixelShuffle", (2,), {}, (2, 12, 3, 4)),
    ("PixelUnshuffle", (2,), {}, (2, 3, 4, 6)),
    ("LocalResponseNorm", (5,), {}, (2, 7, 3, 4)),
    ("LocalResponseNorm", (4, 0.5, 0.6, 2.0), {}, (2, 7, 3)),
    ("LocalResponseNorm", (3, 0.5), {}, (2, 2, 2, 2, 2)),
    ("LayerNorm", (5,), {}, (4, 5)),
    ("LayerNorm", ((3, 4), 1e-3), {}, (2, 3, 4)),
    ("LayerNorm", (5,), {"bias": False}, (4, 2, 5)),
    ("LayerNorm", (5,), {"elementwise_affine": False}, (4, 5)),
    ("GroupNorm", (2, 6), {}, (3, 6, 4, 4)),
    ("GroupNorm", (3, 6), {"affine": False, "eps": 1e-3}, (3, 6)),
    ("InstanceNorm1d", (3,), {}, (2, 3, 6)),
    ("InstanceNorm2d", (3,), {"affine": True}, (2, 3, 4, 5)),
    ("InstanceNorm3d", (3,), {"eps": 1e-2}, (2, 3, 2, 3, 2)),
    ("AdaptiveAvgPool1d", (3,), {}, (2, 3, 8)),
    ("AdaptiveAvgPool2d", (7,), {}, (2, 3, 4, 5)),
    ("AdaptiveAvgPool2d", ((2, 4),), {}, (2, 3, 8, 8)),
    ("AdaptiveAvgPool2d", ((None, 3),), {}, (2, 3, 5, 7)),
    ("AdaptiveAvgPool2d", (1,), {}, (2, 3, 5, 7)),
    ("AdaptiveAvgPool3d", ((2, 1, 3),), {}, (1, 2, 3, 4, 5)),
    ("Dropout2d", (0.0,), {}, (2, 3, 4, 5)),
]


def label(case: tuple[Any, ...]) -> str:
    return f"{case[0]}-{case[1]}-{case[2]}-{'x'.join(map(str, case[3]))}"


def filled(ours: nn.Module, theirs: Any) -> np.random.Generator:
    """Both with the same values, none of them near 0 or 1."""
    rng = np.random.default_rng(0)
    for slot in ours.slots():
        slot.value.data = rng.uniform(0.3, 1.1, slot.value.shape).astype(np.float32) * rng.choice(
            [-1, 1], slot.value.shape).astype(np.float32)
    theirs.load_state_dict({n: torch.tensor(v) for n, v in ours.state_dict().items()})
    return rng


def parts(y: Any) -> list[Any]:
    if isinstance(y, tuple | list):
        return [p for part in y for p in parts(part)]
    return [] if y is None else [y]


def compare(ours: nn.Module, theirs: Any, xs: list[Any], options: Any = None,
            other: Any = None) -> None:
    """Results, gradients of the inputs xs that are floats, gradients of the parameters."""
    a = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in xs]
    b = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in xs]
    ys, zs = parts(ours(*a, **(options or {}))), parts(theirs(*b, **(other or {})))
    assert len(ys) == len(zs)
    rng = np.random.default_rng(5)
    total, reference = 0, 0
    for y, z in zip(ys, zs, strict=True):
        np.testing.assert_allclose(y.data, z.detach().numpy(), **CLOSE)
        weights = rng.standard_normal(tuple(z.shape)).astype(np.float32)
        total = total + (y * weights).sum()
        reference = reference + (z * torch.tensor(weights)).sum()
    total.backward()
    reference.backward()
    for x, z in zip(a, b, strict=True):
        if x.requires_grad:
            np.testing.assert_allclose(x.grad.data, z.grad.numpy(), **CLOSE)
    found = dict(theirs.named_parameters())
    assert sorted(found) == sorted(n for n, _ in ours.named_parameters())
    for key, parameter in ours.named_parameters():
        np.testing.assert_allclose(parameter.grad.data, found[key].grad.numpy(), rtol=1e-4,
                                   atol=1e-4)


@pytest.mark.parametrize("case", LAYERS, ids=label)
def test_layer(case: tuple[Any, ...]) -> None:
    name, args, options, shape = case
    ours, theirs = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    rng = filled(ours, theirs)
    compare(ours, theirs, [rng.standard_normal(shape).astype(np.float32)])


@pytest.mark.parametrize("pad", [None, 2, -1])
def test_embedding(pad: int | None) -> None:
    ours, theirs = nn.Embedding(6, 3, pad), torch.nn.Embedding(6, 3, pad)
    assert pad is None or not ours.weight.data[pad].any()
    filled(ours, theirs)
    compare(ours, theirs, [np.array([[0, 2, 5, 5], [1, 2, 0, 5]])])


CELLS = [("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu", "bias": False}), ("LSTMCell", {}),
         ("GRUCell", {}), ("GRUCell", {"bias": False})]


@pytest.mark.parametrize(("name", "options"), CELLS)
@pytest.mark.parametrize("started", [True, False])
def test_cell(name: str, options: dict[str, Any], started: bool) -> None:
    ours = getattr(nn, name)(4, 3, **options)
    theirs = getattr(torch.nn, name)(4, 3, **options)
    rng = filled(ours, theirs)
    x, h, c = (rng.standard_normal((5, n)).astype(np.float32) for n in (4, 3, 3))
    if not started:
        compare(ours, theirs, [x])
    elif name == "LSTMCell":
        compare(ours, theirs, [x], {"hx": (h, c)}, {"hx": (torch.tensor(h), torch.tensor(c))})
    else:
        compare(ours, theirs, [x, h])


LOOPS = [{}, {"num_layers": 2, "batch_first": True}, {"bidirectional": True, "bias": False},
         {"num_layers": 2, "bidirectional": True}]


@pytest.mark.parametrize("options", LOOPS, ids=str)
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_recurrent(name: str, options: dict[str, Any]) -> None:
    ours = getattr(nn, name)(4, 3, **options)
    theirs = getattr(torch.nn, name)(4, 3, **options)
    rng = filled(ours, theirs)
    x = rng.standard_normal((5, 2, 4)).astype(np.float32)
    compare(ours, theirs, [x])
    for module in (ours, theirs):
        module.zero_grad()
    ways = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    h, c = (rng.standard_normal((ways, 5 if options.get("batch_first") else 2, 3)).astype("f")
            for _ in range(2))
    if name == "LSTM":
        compare(ours, theirs, [x], {"hx": (h, c)}, {"hx": (torch.tensor(h), torch.tensor(c))})
    else:
        compare(ours, theirs, [x, h])


def test_recurrent_with_relu_and_arguments_by_position() -> None:
    args = (4, 3, 2, "relu", False, True, 0.0, True)
    ours, theirs = nn.RNN(*args), torch.nn.RNN(*args)
    rng = filled(ours, theirs)
    compare(ours, theirs, [rng.standard_normal((2, 5, 4)).astype(np.float32)])
    assert repr(ours).startswith("RNN(4, 3, num_layers=2, bias=False, batch_first=True")


@pytest.mark.parametrize("options", [{}, {"batch_first": True, "bias": False}], ids=str)
@pytest.mark.parametrize("masks", ["none", "padding", "bool", "float", "both"])
def test_attention(options: dict[str, Any], masks: str) -> None:
    ours = nn.MultiheadAttention(8, 2, **options)
    theirs = torch.nn.MultiheadAttention(8, 2, **options)
    rng = filled(ours, theirs)
    q, k = (3, 2), (5, 2)  # L, N and S, N
    if ours.batch_first:
        q, k = q[::-1], k[::-1]
    xs = [rng.standard_normal((*s, 8)).astype("f") for s in (q, k, k)]
    ahead = np.triu(np.ones((3, 5), bool), 2)
    padding = np.array([[False] * 5, [False, False, False, False, True]])
    given: dict[str, Any] = {
        "none": {}, "padding": {"key_padding_mask": padding}, "bool": {"attn_mask": ahead},
        "float": {"attn_mask": rng.standard_normal((4, 3, 5)).astype("f")},
        "both": {"attn_mask": ahead, "key_padding_mask": padding}}[masks]
    compare(ours, theirs, xs, given, {n: torch.tensor(m) for n, m in given.items()})
    one = {**given, "average_attn_weights": False}
    every = ours(*xs, **one)[1].data
    their = theirs(*map(torch.tensor, xs), **{
        n: torch.tensor(m) if n in given else m for n, m in one.items()})[1].detach().numpy()
    np.testing.assert_allclose(every, their, **CLOSE)
    assert ours(*xs, need_weights=False)[1] is None


@pytest.mark.parametrize("kind", ["none", "bool", "float", "causal"])
def test_scaled_dot_product_attention(kind: str) -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 3, 4, n)).astype("f") for n in (6, 6, 5))
    mask = {"bool": np.tri(4, 4) > 0, "float": rng.standard_normal((4, 4)).astype("f")}.get(kind)
    causal = kind == "causal"
    y = ops.scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
    z = torch.nn.functional.scaled_dot_product_attention(
        *map(torch.tensor, (q, k, v)), None if mask is None else torch.tensor(mask),
        is_causal=causal)
    np.testing.assert_allclose(y, z.numpy(), **CLOSE)
