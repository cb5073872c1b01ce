"""The loop language in NumPy: what a kernel means."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from kiso.compiler.loops import (
    Axis,
    Buffer,
    Call,
    Const,
    Contract,
    Expr,
    Index,
    Load,
    Program,
    Reduce,
)
from kiso.compiler.plan import Plan
from kiso.errors import GraphError
from kiso.ops.op import Array

__all__ = ["evaluate", "run_plan"]


def run_plan(found: Plan, *arrays: Array) -> list[Array]:
    """A plan's outputs for these inputs."""
    given = found.constants | dict(zip(found.inputs, map(np.asarray, arrays), strict=True))
    done = evaluate(found.program, given)
    return [done[b] for b in found.outputs]


def evaluate(program: Program, arrays: dict[Buffer, Array]) -> dict[Buffer, Array]:
    """Run all kernels in NumPy; `arrays` holds the inputs, the result every buffer."""
    values = dict(arrays)
    with np.errstate(all="ignore"):
        for kernel in program.kernels:
            if isinstance(kernel, Contract):
                values[kernel.buffer] = _contract(kernel, [values[b] for b in kernel.inputs])
                continue
            place = {a: i for i, a in enumerate(kernel.axes)}
            made = [(element, _value(e, place, kernel.axes, values))
                    for element, e in kernel.results]
            loops = tuple(a.extent for a in kernel.axes)
            for element, y in made:
                z = values[element.buffer] = np.empty(element.buffer.shape, element.dtype)
                at: Any = 0
                for i, n in zip(element.indices, z.shape, strict=True):
                    at = at * n + _value(i, place, kernel.axes, values)
                z.reshape(-1)[np.broadcast_to(at, loops)] = np.broadcast_to(y, loops)
    return values


def _contract(kernel: Contract, given: list[Array]) -> Array:
    """The op, then the work after it."""
    count = len(kernel.turned)
    y: Array = kernel.op(*(x.T if turned else x
                           for x, turned in zip(given[:count], kernel.turned, strict=True)))
    more = iter(given[count:])
    for name in kernel.after:
        if name == "bias":
            y = y + next(more).reshape(-1, *(1,) * (y.ndim - 2))
        elif name == "add":
            y = y + next(more)
        elif name == "mask":
            y = y * (next(more) > 0)
        else:
            y = np.maximum(y, 0)
    return y


def _value(e: Expr, place: dict[Axis, int], axes: tuple[Axis, ...],
           values: dict[Buffer, Array]) -> Any:
    """The expression for all index values at once: an array over `axes` (broadcastable)."""
    def of(x: Expr) -> Any:
        return _value(x, place, axes, values)

    if isinstance(e, Const):
        return e.dtype.type(e.value)
    if isinstance(e, Index):
        shape = [1] * len(axes)
        shape[place[e.axis]] = e.axis.extent
        return np.arange(e.axis.extent, dtype=np.int64).reshape(shape)
    if isinstance(e, Load):
        index = tuple(of(i) for i in e.indices)
        for i, n in zip(index, e.buffer.shape, strict=True):
            if np.size(i) and (np.min(i) < 0 or np.max(i) >= n):
                raise GraphError(f"load outside of {e.buffer.shape}: {np.min(i)} to {np.max(i)}.")
        return values[e.buffer][index]
    if isinstance(e, Call):
        if e.name == "cast":
            return np.asarray(of(e.parts[0])).astype(e.dtype)
        return FUNCTIONS[e.name](*map(of, e.parts))
    assert isinstance(e, Reduce)
    inner = (*axes, *e.axes)
    body = _value(e.body, {a: i for i, a in enumerate(inner)}, inner, values)
    # Every axis of the reduction is spread out, those of the result only where the body has them.
    outer = np.shape(body)[:len(axes)] or (1,) * len(axes)
    full = np.broadcast_to(body, (*outer, *(a.extent for a in e.axes)))
    flat: Any = full.reshape((*outer, prod(a.extent for a in e.axes)))
    if e.kind == "argmax":
        return flat.argmax(-1)
    if e.kind == "sum":
        return np.sum(flat, -1, dtype=e.dtype)
    return np.max(flat, -1) if e.kind == "max" else np.min(flat, -1)


def _erf(x: Any) -> Any:
    from kiso.ops.special import erf_array

    return erf_array(np.asarray(x))


def _div(a: Any, b: Any) -> Any:
    return np.floor_divide(a, b) if np.asarray(a).dtype.kind in "iu" else np.divide(a, b)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sqrt": np.sqrt,
    "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "erf": _erf, "floor": np.floor,
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "add": np.add,
    "sub": np.subtract, "mul": np.multiply, "div": _div, "mod": np.mod, "pow": np.power,
    "max": np.maximum, "min": np.minimum, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "shl": np.left_shift, "shr": np.right_shift, "eq": np.equal,
    "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "select": np.where}
