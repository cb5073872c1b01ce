"""A net as a table that fits on a page: equal blocks are one row.

    layer1.0-2   3 x Bottleneck                 256x56x56   215,808   667,942,912
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kiso import nn
from kiso.models.base import Chain
from kiso.nn.conv import ConvNd
from kiso.nn.pool import PoolNd
from kiso.ops import Shape

__all__ = ["Stage", "structure"]

LEADS = (ConvNd, nn.Linear, PoolNd, nn.GlobalAvgPool, nn.GlobalMaxPool)


@dataclass
class Stage:
    """Some equal blocks, or layers with what follows each."""

    first: str  # names of the first and the last of them
    last: str
    layers: str
    output_shape: Shape | None  # of one sample; None: it works in training only
    parameters: int
    multiply_adds: int
    count: int = 1

    @property
    def name(self) -> str:
        """layer1.0-2: from the first to the last."""
        if self.count == 1:
            return self.first
        return f"{self.first}-{self.last.rpartition('.')[2]}"


def structure(net: nn.Module, input_shape: Shape) -> list[Stage]:
    """The rows, in the order in which the parts work. A row begins with a convolution, a dense
    layer, a pooling or a block; what follows a layer (norm, activation, ...) belongs to its row."""
    shapes: dict[int, Shape] = {}

    def after(module: nn.Module, xs: tuple[Any, ...], y: Any) -> None:
        if hasattr(y, "shape"):
            shapes[id(module)] = tuple(y.shape[1:])

    with nn.watch(after=after):
        rows = net.summary(input_shape).rows
    stages: list[Stage] = []
    after_block = True
    for name, unit in _units(net):
        if isinstance(unit, nn.Identity) or (id(unit) not in shapes and not unit.parameter_count()):
            continue
        own = [r for r in rows if r.name == name or r.name.startswith(f"{name}.")]
        new = Stage(name, name, _label(unit), shapes.get(id(unit)), sum(r.parameters for r in own),
                    sum(r.multiply_adds for r in own))
        block = any(unit.children())
        if block or after_block or isinstance(unit, LEADS):
            stages.append(new)
        else:
            _append(stages[-1], new)
        after_block = block
    return list(_merged(stages))


def _units(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts, and instead of a sequence its parts."""
    for name, part in net.named_children():
        inner = dict(part.named_children()) if isinstance(part, nn.Sequential | Chain) else {}
        if inner:
            yield from ((f"{name}.{key}", unit) for key, unit in inner.items())
        else:
            yield name, part


def _label(unit: nn.Module) -> str:
    """Class, with what tells it from others: kernel, stride, or how many parts."""
    kind = type(unit).__name__
    if isinstance(unit, ConvNd | PoolNd):
        k, ndim = unit.kernel_size, type(unit).ndim
        kind += " " + "x".join(map(str, (k,) * ndim if isinstance(k, int) else k))
        plain = k if isinstance(unit, PoolNd) else 1
        kind += f" /{unit.stride}" * (unit.stride != plain)
    if type(unit) is nn.Sequential and not unit.parameter_count():
        return " + ".join(map(_label, unit))
    kinds = {type(part) for part in unit.children()}
    if isinstance(unit, nn.Sequential | Chain) and len(kinds) == 1:
        kind += f" ({len(list(unit.children()))} {kinds.pop().__name__})"
    return kind


def _append(stage: Stage, new: Stage) -> None:
    stage.layers += f" + {new.layers}"
    stage.output_shape = new.output_shape
    stage.parameters += new.parameters
    stage.multiply_adds += new.multiply_adds


def _merged(stages: list[Stage]) -> Iterator[Stage]:
    """Neighbours that are equal but for their input as one."""
    current: Stage | None = None
    for stage in stages:
        if current is not None and (current.layers, current.output_shape) == (
                stage.layers, stage.output_shape):
            current.last, current.count = stage.last, current.count + 1
            current.parameters += stage.parameters
            current.multiply_adds += stage.multiply_adds
            continue
        if current is not None:
            yield current
        current = stage
    if current is not None:
        yield current
