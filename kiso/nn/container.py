"""Modules made of modules: one after the other, around a shortcut, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

from kiso import ops
from kiso.errors import ConfigError, ShapeError
from kiso.nn.activation import LogSoftmax, Softmax
from kiso.nn.checks import choice
from kiso.nn.module import Module
from kiso.ops import Value

__all__ = ["Parallel", "Residual", "Sequential", "split_softmax"]


def _layer(owner: str, position: int, layer: Any) -> Module:
    """The layer, if it is one."""
    if isinstance(layer, Module):
        return layer
    if isinstance(layer, type):
        hint = f"write {layer.__name__}() with parentheses"
    elif callable(layer):
        hint = "write a Module whose forward calls it"
    else:
        hint = "pass layers one by one: Sequential(a, b, c), or Sequential(*layers)"
    raise ConfigError(f"{owner}: layer {position} is {layer!r}, which is no Module; {hint}.")


class Sequential(Module):
    """y = layer_n(... layer_1(x)): layers one after the other, named "0", "1", ...

        net = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
        net[1].weight      net[:2] (shares its layers)      net.append(nn.Softmax())

    Each layer with weights is told which activation follows it (see `nn.init`).
    """

    layers: list[Module]

    def __init__(self, *layers: Module):
        self.layers = [_layer("Sequential", i, layer) for i, layer in enumerate(layers)]
        self.followed_by(None)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The layers, by position."""
        for i, layer in enumerate(self.layers):
            yield str(i), layer

    def followed_by(self, activation: str | None) -> str | None:
        """Walk from the end to the front, so that every layer hears what comes after it."""
        for layer in reversed(self.layers):
            activation = layer.followed_by(activation)
        return activation

    def forward(self, x: Value) -> Value:
        """What the layers make of x, one after the other."""
        for layer in self.layers:
            x = layer(x)
        return x

    def append(self, layer: Module) -> Sequential:
        """Add a layer at the end; returns the container."""
        self.layers.append(_layer("Sequential", len(self.layers), layer))
        self.followed_by(None)
        return self

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            part = Sequential()
            part.layers = self.layers[index]
            part.training = self.training
            return part
        return self.layers[index]

    def __setitem__(self, index: int, layer: Module) -> None:
        self.layers[index] = _layer("Sequential", index, layer)
        self.followed_by(None)


class Residual(Module):
    """y = body(x) + shortcut(x), the shortcut x itself if none is given.

    `Residual(*layers)` runs its layers one after the other as the body. Where the body changes the
    shape, the shortcut must change it too, for example by a 1x1 convolution with the same stride.
    Source: He, Zhang, Ren and Sun 2016. Errors: ShapeError if the two shapes differ.
    """

    body: Sequential
    shortcut: Module | None

    def __init__(self, *layers: Module, shortcut: Module | None = None):
        self.body = Sequential(*layers)
        self.shortcut = None if shortcut is None else _layer("Residual", 0, shortcut)

    def followed_by(self, activation: str | None) -> str | None:
        """Both ways end before the same activation."""
        if self.shortcut is not None:
            self.shortcut.followed_by(activation)
        return self.body.followed_by(activation)

    def forward(self, x: Value) -> Value:
        """The sum of both ways."""
        y = self.body(x)
        way = x if self.shortcut is None else self.shortcut(x)
        if ops.shape_of(y) != ops.shape_of(way):
            raise ShapeError(f"the body gives {ops.shape_of(y)}, the shortcut {ops.shape_of(way)}, "
                             "and they are added; give a shortcut that makes the same shape (a 1x1 "
                             "convolution with the same stride), or keep the shape in the body.")
        return y + way


class Parallel(Module):
    """The same input through several branches, joined along the channel axis or added.

    merge="concat": (N, C1 + C2 + ..., *S), as in GoogLeNet (Szegedy et al. 2015);
    merge="add": the sum. Branches are named "0", "1", ...
    """

    branches: list[Module]
    merge: str

    def __init__(self, *branches: Module, merge: str = "concat"):
        if not branches:
            raise ConfigError("Parallel: there is no branch; expected at least one.")
        self.branches = [_layer("Parallel", i, b) for i, b in enumerate(branches)]
        self.merge = choice("Parallel", "merge", merge, ("concat", "add"))

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The branches, by position."""
        for i, branch in enumerate(self.branches):
            yield str(i), branch

    def followed_by(self, activation: str | None) -> str | None:
        """Every branch ends before the same activation."""
        seen = {branch.followed_by(activation) for branch in self.branches}
        return seen.pop() if len(seen) == 1 else None

    def forward(self, x: Value) -> Value:
        """Join what the branches give."""
        ys = [branch(x) for branch in self.branches]
        if self.merge == "concat":
            return ops.concat(ys, 1)
        _same_shapes([ops.shape_of(y) for y in ys])
        total = ys[0]
        for y in ys[1:]:
            total = total + y
        return total


def _same_shapes(shapes: Sequence[tuple[int, ...]]) -> None:
    if len(set(shapes)) > 1:
        raise ShapeError(f"the branches give {', '.join(map(str, shapes))}, and they are added; "
                         "they must all give the same shape.")


def split_softmax(model: Module) -> tuple[Module, str | None]:
    """(scores, "softmax" | "log_softmax" | None): a model without a softmax at its end.

    Losses take scores and apply softmax themselves, exactly and stably; a description from a book
    ends in softmax all the same. The part without it shares layers and names with the model.
    """
    if isinstance(model, Sequential) and model.layers:
        last = model.layers[-1]
        if isinstance(last, Softmax | LogSoftmax):
            return model[:-1], last.activation
    return model, None
