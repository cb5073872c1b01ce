"""What an op is, and how calling one finds the right interpreter.

An op is a class of static attributes and no state:

    class Square(Op):
        "y = x^2,  dy/dx = 2 x"
        samples = (Sample((2, 3)),)

        def shape(self, x):          return x             # input shapes -> output shape
        def forward(self, x):        return x * x         # NumPy arrays in, NumPy array out
        def backward(self, gy, y, x): return gy * 2 * x   # gradient, output, inputs -> gradients

`backward` is written with the project's own ops and operators. The same three lines therefore
compute gradients of NumPy arrays, gradients of gradients (the tape records them), and the
gradient part of a traced graph: no second rule is needed anywhere.

A value is a NumPy array, or an object of a higher *interpreter* that stands for one: the tracer's
`Var` (level 1) or the tape's `Tensor` (level 2). `op(*values)` asks the highest level among its
inputs to apply the op; plain arrays are computed at once. Nothing is global, so threads and
nested uses do not disturb each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias, dataclass_transform

import numpy as np
import numpy.typing as npt

from kiso.ops.sample import Sample

__all__ = ["REGISTRY", "Array", "Op", "Shape", "Value", "as_array", "shape_of"]

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Value: TypeAlias = Any  # an Array, a tracer's Var or a tape's Tensor

REGISTRY: dict[str, type[Op]] = {}  # every op of the textbook, by name


def as_array(value: Any, like: Any = None) -> Array:
    """Turn a Python number, list or array into an array of a type that Kiso computes with.

    Python floats become float32, or the float type of `like`; integers follow `like` (int64 alone).
    np.float64, the number that `np.sqrt(2)` gives, is a Python float too: it follows floats.
    """
    array: Array = np.asarray(value)
    kind = np.dtype(like) if like is not None else np.dtype(np.float32)
    follows = like is not None and kind.kind == "f" and isinstance(value, float)
    if isinstance(value, np.ndarray | np.generic) and not follows:
        return array
    if kind.kind == "f" and (like is not None or array.dtype.kind == "f"):
        return array.astype(kind)
    if kind.kind in "iu" and array.dtype.kind in "iu":
        return array.astype(kind)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def shape_of(value: Value) -> Shape:
    """Shape of a value of any interpreter."""
    return tuple(value.shape)


def _weak(value: Any) -> bool:
    """Numbers take the type of the arrays beside them."""
    return isinstance(value, int | float)


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Op:
    """Base of all ops. Subclasses become frozen, keyword-only dataclasses by themselves."""

    outputs: ClassVar[int] = 1  # how many arrays forward returns (a tuple when more than one)
    fixed: ClassVar[tuple[int, ...]] = ()  # float inputs without gradient, by position
    floats: ClassVar[bool] = False  # works on floats only: integers and bools are cast first
    samples: ClassVar[Sequence[Sample]] = ()  # inputs and attributes that the test suite runs

    def __init_subclass__(cls, abstract: bool = False) -> None:
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        if not abstract and cls.__module__.startswith("kiso.ops"):
            REGISTRY[cls.__name__] = cls

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, np.generic):  # a np.float64 would make float64 of its array
                object.__setattr__(self, name, value.item())

    def shape(self, *shapes: Any, **_: Any) -> Any:
        """Output shape (a tuple of them for several outputs) from the input shapes."""
        raise NotImplementedError(f"{type(self).__name__} has no shape rule")

    def dtype(self, *dtypes: Any, **_: Any) -> Any:
        """Output type from the input types; by default NumPy's promotion of all of them."""
        kind = np.result_type(*dtypes)
        return kind if self.outputs == 1 else (kind,) * self.outputs

    def forward(self, *arrays: Any, **_: Any) -> Any:
        """The value, in NumPy."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, gy: Any, y: Any, *xs: Any, **_: Any) -> Any:
        """Gradients of the inputs (None where there is none) from the output's gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def __call__(self, *xs: Any) -> Any:
        """Apply the op with the interpreter of its highest-level input."""
        apply: Callable[..., Any] = _eager
        level = 0
        for x in xs:
            interpreter = getattr(x, "kiso_interpreter", None)
            if interpreter is not None and interpreter.level > level:
                apply, level = interpreter.apply, interpreter.level
        if any(_weak(x) for x in xs):
            strong = [x.dtype for x in xs if hasattr(x, "dtype") and not _weak(x)]
            like = np.result_type(*strong) if strong else None
            xs = tuple(as_array(x, like) if _weak(x) else x for x in xs)
        return apply(self, *(_as_floats(xs) if self.floats else xs))

    def __str__(self) -> str:
        """The op as it is printed in graphs: `Conv[stride=(1, 1), padding=...]`."""
        names = getattr(self, "__dataclass_fields__", {})
        inside = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return type(self).__name__ + (f"[{inside}]" if inside else "")


def _as_floats(xs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Integers and bools as floats: of the type of the floats beside them, else float32.

    NumPy's own choice, float64 (or float16 for bytes), would spread through a float32 net.
    """
    from kiso.ops.elementwise import cast

    values = [x if hasattr(x, "dtype") else as_array(x) for x in xs]
    floats = [x.dtype for x in values if x.dtype.kind == "f"]
    if len(floats) == len(values):
        return tuple(values)
    kind = np.result_type(*floats) if floats else np.dtype(np.float32)
    return tuple(x if x.dtype.kind == "f" else cast(x, kind) for x in values)


def _eager(op: Op, *xs: Any) -> Any:
    """The lowest interpreter: compute at once with NumPy."""
    arrays: list[Array] = [as_array(x) for x in xs]
    # So that what does not fit is explained before NumPy stumbles, and as it is when traced.
    op.shape(*(a.shape for a in arrays))
    op.dtype(*(a.dtype for a in arrays))
    y = op.forward(*arrays)
    if op.outputs == 1:
        return np.asarray(y)
    return tuple(np.asarray(part) for part in y)
