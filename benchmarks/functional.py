"""A Kiso model, layer by layer, in the functions of another framework.

PyTorch has layers like Kiso's, see peer_torch.py. For the others a model is a function: `forward`
walks through the layers, and an `Algebra` says what each means there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kiso import nn
from kiso.models.base import Chain

__all__ = ["Algebra", "Unknown", "forward", "pair"]


class Unknown(TypeError):
    """A layer that has not been written in another framework's functions."""


class Algebra(Protocol):
    """What a framework makes of each kind of layer; x, w, b are its own values."""

    def conv(self, x: Any, w: Any, b: Any | None, layer: nn.Conv2d) -> Any: ...
    def linear(self, x: Any, w: Any, b: Any | None) -> Any: ...
    def batch_norm(self, x: Any, named: Mapping[str, Any], name: str,
                   layer: nn.BatchNorm2d) -> Any: ...
    def max_pool(self, x: Any, layer: nn.MaxPool2d) -> Any: ...
    def avg_pool(self, x: Any, layer: nn.AvgPool2d) -> Any: ...
    def global_avg_pool(self, x: Any) -> Any: ...
    def flatten(self, x: Any) -> Any: ...
    def relu(self, x: Any) -> Any: ...
    def sigmoid(self, x: Any) -> Any: ...
    def add(self, x: Any, y: Any) -> Any: ...
    def dropout(self, x: Any, p: float) -> Any: ...


def pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    """(k, k) for k."""
    return (size, size) if isinstance(size, int) else size


def forward(f: Algebra, layer: nn.Module, x: Any, named: Mapping[str, Any], name: str = "") -> Any:
    """The layer's output. `named`: parameters and buffers by dotted name, `name` the layer's.

    Errors: Unknown for a layer that no algebra knows.
    """
    def inner(part: nn.Module, key: str, value: Any) -> Any:
        return forward(f, part, value, named, f"{name}.{key}" if name else key)

    match layer:
        case nn.Sequential():
            for i, part in enumerate(layer):
                x = inner(part, str(i), x)
            return x
        case Chain() if type(layer).forward is Chain.forward:
            for key, part in layer.named_children():
                x = inner(part, key, x)
            return x
        case nn.Residual():
            way = x if layer.shortcut is None else inner(layer.shortcut, "shortcut", x)
            return f.add(inner(layer.body, "body", x), way)
        case nn.Conv2d():
            return f.conv(x, named[f"{name}.weight"], named.get(f"{name}.bias"), layer)
        case nn.Linear():
            return f.linear(x, named[f"{name}.weight"], named.get(f"{name}.bias"))
        case nn.BatchNorm2d():
            return f.batch_norm(x, named, name, layer)
        case nn.MaxPool2d():
            return f.max_pool(x, layer)
        case nn.AvgPool2d():
            return f.avg_pool(x, layer)
        case nn.GlobalAvgPool():
            return f.global_avg_pool(x)
        case nn.Flatten():
            return f.flatten(x)
        case nn.ReLU():
            return f.relu(x)
        case nn.Sigmoid():
            return f.sigmoid(x)
        case nn.Dropout():
            return f.dropout(x, layer.p)
    raise Unknown(f"{type(layer).__name__} has no meaning in other frameworks; add one to "
                    "forward()")
