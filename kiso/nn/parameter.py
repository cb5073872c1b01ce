"""The tensors that a layer owns: parameters, which training changes, and buffers, which it keeps.

A parameter that nobody has touched yet holds only the plan of its first values (`Start`). So a net
of a hundred million weights is described, counted and summarised without drawing any of them, and
a container can still tell a layer which activation follows it and with that the right scale.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from kiso.autograd import Tensor
from kiso.nn.init import Start
from kiso.ops import Shape

__all__ = ["Buffer", "Parameter"]


class Parameter(Tensor):
    """A tensor that training changes: found by `Module.named_parameters` when it is an attribute.

    `data` are numbers, which become float32 (or `dtype`), or a `Start`: then the values are drawn
    when they are first asked for; the same ones whenever that is.
    """

    def __init__(self, data: Any, requires_grad: bool = True, *, dtype: Any = "float32"):
        self._start: Start | None = None
        self._value: Any = None
        start = data if isinstance(data, Start) else None
        super().__init__(np.zeros(()) if start else data, requires_grad, dtype=dtype)
        if start is not None:
            self._start, self._value = start, None

    @property
    def data(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The values; drawn now if nobody has asked before."""
        if self._value is None and self._start is not None:
            self._value = self._start.draw()
        return self._value

    @data.setter
    def data(self, value: Any) -> None:
        self._start, self._value = None, value

    @property
    def shape(self) -> Shape:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Lengths of the axes; known before the values are drawn."""
        return self._start.shape if self._start is not None else tuple(self._value.shape)

    @property
    def dtype(self) -> np.dtype[Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Type of the elements."""
        return np.dtype(np.float32) if self._start is not None else self._value.dtype

    @property
    def start(self) -> Start | None:
        """How the values are drawn, None once they have been set by anything else."""
        return self._start

    def followed_by(self, activation: str | None) -> None:
        """Let the scale of the first values fit the activation; nothing once they are in use."""
        if activation is not None and self._start is not None and self._value is None:
            self._start = replace(self._start, activation=activation)


class Buffer(Tensor):
    """A tensor that a layer keeps between calls without a gradient: running statistics.

    A layer replaces it by assignment, `self.running_mean = new_mean`, and never changes it in
    place, so that a whole training step stays a pure function (see `functional_call`).
    """

    def __init__(self, data: Any):
        super().__init__(data)
