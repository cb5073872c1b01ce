"""Work that follows a product or convolution and is done while its result is in the registers.

    y = relu(conv(x, W) + b)                  forward
    gx = (conv_input_grad(gy, W) + other) * step(y)      backward: the gradient through a ReLU

A chain of such nodes is taken over as long as each has the one before as its only reader, and what
else it reads is there already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kiso import ops
from kiso.compiler.graph import Node
from kiso.compiler.loops import Buffer

if TYPE_CHECKING:
    from kiso.compiler.plan import Planner

__all__ = ["follow"]


def follow(p: Planner, node: Node, order: tuple[int, ...] | None
           ) -> tuple[tuple[str, ...], tuple[Buffer, ...], int]:
    """What the kernel of this node can do as well: names (see `Contract`), the arrays that they
    need, and the value that comes out. The nodes are marked as absorbed."""
    (n,) = node.outputs
    names: list[str] = []
    arrays: list[Buffer] = []
    while p.uses[n] == 1 and n in p.readers:
        reader = p.readers[n]
        found = _one(p, reader, n, order)
        if found is None:
            break
        names.append(found[0])
        arrays += found[1]
        p.absorbed.add(reader)
        (n,) = reader.outputs
    return tuple(names), tuple(arrays), n


def _one(p: Planner, reader: Node, n: int, order: tuple[int, ...] | None
         ) -> tuple[str, tuple[Buffer, ...]] | None:
    """The name of a node's work on value n, and its array."""
    shape = p.graph.specs[n].shape
    if isinstance(reader.op, ops.Relu):
        return "relu", ()
    if not isinstance(reader.op, ops.Add | ops.Mul) or p.graph.specs[reader.outputs[0]] != \
            p.graph.specs[n]:
        return None
    a, b = reader.inputs
    other = b if a == n else a
    if isinstance(reader.op, ops.Mul):
        maker = p.maker.get(other)
        if maker is None or not isinstance(maker.op, ops.Step):
            return None
        return _alike(p, "mask", maker.inputs[0], n, order)
    source = _column(p, other, shape)
    if source is not None:
        return ("bias", (p.store(source),)) if source in p.values else None
    return _alike(p, "add", other, n, order)


def _alike(p: Planner, name: str, other: int, n: int, order: tuple[int, ...] | None
           ) -> tuple[str, tuple[Buffer, ...]] | None:
    """An array that lies in memory as the result does."""
    if other not in p.values or p.graph.specs[other] != p.graph.specs[n] or other == n:
        return None
    stored = p.store(other)
    wanted = order or tuple(range(len(stored.shape)))
    return (name, (stored,)) if stored.order == wanted else None


def _column(p: Planner, n: int, shape: tuple[int, ...]) -> int | None:
    """The value (C,) that is added to every pixel of (N, C, H, W) or row of (N, C)."""
    flat = len(shape) == 2
    own = p.graph.specs[n]
    if own.dtype != np.float32 or own.shape != ((shape[1],) if flat else (shape[1], 1, 1)):
        return None
    if flat:
        return n
    maker = p.maker.get(n)
    if maker is not None and isinstance(maker.op, ops.Reshape):
        (source,) = maker.inputs
        if p.graph.specs[source].shape == (shape[1],):
            return source
    return None
