"""An interpreter that computes shapes only: how a net of any size is measured in no time.

`Probe` stands for an array on interpreter level 1, like the tracer's Var: an op applied to it
follows its shape rule and is reported to a listener. A model whose Python code asks for values
(`if x.sum() > 0`) cannot go on shapes alone; `UnknownValue` then lets the caller try again with
probes that carry numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from kiso.autograd import Tensor, no_grad
from kiso.errors import GraphError
from kiso.nn.functional import functional_call
from kiso.nn.module import Module
from kiso.ops import Op, Shape, as_array
from kiso.ops.operators import Operators

__all__ = ["Listener", "Probe", "UnknownValue", "output_shape", "run_shapes"]

Listener = Callable[[Op, list[Shape], list[Shape]], None]  # op, input shapes, output shapes


class UnknownValue(GraphError):
    """Code asked for a value where only shapes are known."""


class Probing:
    """Interpreter level 1: apply the shape rule, tell the listener; compute if all is known."""

    level = 1

    @staticmethod
    def apply(op: Op, *xs: Any) -> Any:
        """Outputs as Probes."""
        listener = next(x.listener for x in xs if isinstance(x, Probe))
        ins = [tuple(np.shape(x) if not hasattr(x, "shape") else x.shape) for x in xs]
        kinds = [x.dtype if hasattr(x, "dtype") else as_array(x).dtype for x in xs]
        shapes, dtypes = op.shape(*ins), op.dtype(*kinds)
        if op.outputs == 1:
            shapes, dtypes = (shapes,), (dtypes,)
        arrays: Any = (None,) * op.outputs
        if all(not isinstance(x, Probe) or x.array is not None for x in xs):
            y = op(*(x.array if isinstance(x, Probe) else x for x in xs))
            arrays = y if op.outputs > 1 else (y,)
        listener(op, ins, [tuple(s) for s in shapes])
        ys = tuple(Probe(listener, tuple(s), np.dtype(d), a)
                   for s, d, a in zip(shapes, dtypes, arrays, strict=True))
        return ys if op.outputs > 1 else ys[0]


class Probe(Operators):
    """Shape and type of an array, and perhaps its numbers."""

    kiso_interpreter = Probing

    def __init__(self, listener: Listener, shape: Shape, dtype: np.dtype[Any],
                 array: np.ndarray | None = None):
        self.listener = listener
        self.shape = shape
        self.dtype = dtype
        self.array = array

    def _known(self) -> np.ndarray:
        if self.array is None:
            self._unknown()
        return self.array

    def _unknown(self) -> NoReturn:
        raise UnknownValue("the value of an array is asked for while only shapes are known.")

    def item(self) -> Any:
        """The only element, if it is known."""
        return self._known().item()

    def __bool__(self) -> bool:
        return bool(self._known())

    def __float__(self) -> float:
        return float(self._known())

    def __int__(self) -> int:
        return int(self._known())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._known(), dtype, copy=copy)


def _ignore(op: Op, ins: list[Shape], outs: list[Shape]) -> None:
    """Listener that does nothing."""


def run_shapes(model: Module, shapes: Sequence[Shape], dtype: str = "float32",
               listener: Listener = _ignore) -> Any:
    """Call the model in inference mode on inputs of these shapes (batch axis included).

    Returns what it returns, made of Probes in Tensors. If it needs values, inputs of zeros are
    computed with.
    """
    def probes(compute: bool, tensors: Any) -> dict[str, Probe]:
        return {name: Probe(listener, t.shape, t.dtype, t.data if compute else None)
                for name, t in tensors}

    def call(compute: bool) -> Any:
        zeros = [np.zeros(s, dtype) if compute else None for s in shapes]
        xs = [Probe(listener, s, np.dtype(dtype), z) for s, z in zip(shapes, zeros, strict=True)]
        with no_grad():
            y, _ = functional_call(model, probes(compute, model.named_parameters()),
                                   probes(compute, model.named_buffers()), *xs)
        return y

    try:
        return call(compute=False)
    except UnknownValue:
        return call(compute=True)


def output_shape(model: Module, input_shape: Shape, dtype: str = "float32") -> Shape:
    """Shape of one sample's output for that of one sample's input; nothing is computed.

    Errors: ShapeError if the input does not fit.
    """
    y = run_shapes(model, [(1, *input_shape)], dtype)
    return tuple(y.shape[1:]) if isinstance(y, Tensor) else tuple(np.shape(y)[1:])
