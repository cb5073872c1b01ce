"""The tensors that a layer owns: parameters, which training changes, and buffers, which it keeps.

A parameter that nobody has touched yet holds only the plan of its first values (`Start`). So a net
of a hundred million weights is described, counted and summarised without drawing any of them, and
a container can still tell a layer which activation follows it and with that the right scale.

In training the values are held elsewhere, in the form that compiled code wants (`lend`): the model
keeps no second copy of them, and whoever reads them gets the present ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kiso.autograd import Tensor
from kiso.nn.init import Start
from kiso.ops import Array, Shape

__all__ = ["Buffer", "Changes", "Parameter"]


class Changes:
    """When an attribute of a module or the values of its tensors were last replaced, of whatever
    model: another object each time. Who finds the same one need not look for what has changed."""

    latest: object = object()

    @classmethod
    def noted(cls) -> None:
        """Something was replaced just now."""
        cls.latest = object()


@dataclass(frozen=True)
class Loan:
    """Values that somebody else holds."""

    shape: Shape
    dtype: np.dtype[Any]
    read: Callable[[], Array]

    def draw(self) -> Array:
        """The present values, only to be read."""
        values = self.read().view()
        values.flags.writeable = False
        return values


class Kept(Tensor):
    """A tensor of a layer; its values may not be drawn yet, or be held elsewhere."""

    _source: Start | Loan | None = None
    _value: Any = None

    @property
    def data(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The values; drawn now if nobody has asked before."""
        if isinstance(self._source, Loan):
            return self._source.draw()
        if self._value is None and self._source is not None:
            self._value = self._source.draw()
        return self._value

    @data.setter
    def data(self, value: Any) -> None:
        self._source, self._value = None, value
        Changes.noted()

    @property
    def shape(self) -> Shape:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Lengths of the axes; known before the values are drawn."""
        return tuple((self._source or self._value).shape)

    @property
    def dtype(self) -> np.dtype[Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Type of the elements."""
        return (self._source or self._value).dtype

    @property
    def lent(self) -> bool:
        """Whether somebody else holds the values."""
        return isinstance(self._source, Loan)

    def lend(self, read: Callable[[], Array]) -> None:
        """Let go of the values: until others are assigned to `data`, they are what `read()` gives,
        which must stay the same in shape and type."""
        self._source, self._value = Loan(self.shape, self.dtype, read), None
        Changes.noted()

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which have values of their own."""
        own = {"_source": None, "_value": np.array(self.data)} if self.lent else {}
        return {**vars(self), **own}


class Parameter(Kept):
    """A tensor that training changes: found by `Module.named_parameters` when it is an attribute.

    `data` are numbers, which become float32 (or `dtype`), or a `Start`: then the values are drawn
    when they are first asked for; the same ones whenever that is.
    """

    fan: tuple[float, float] | None  # (fan_in, fan_out) where the shape does not tell them

    def __init__(self, data: Any, requires_grad: bool = True, *, dtype: Any = "float32"):
        start = data if isinstance(data, Start) else None
        super().__init__(np.zeros(()) if start else data, requires_grad, dtype=dtype)
        self.fan = start.fan if start else None
        if start is not None:
            self._source, self._value = start, None

    @property
    def start(self) -> Start | None:
        """How the values are drawn, None once they have been set by anything else."""
        return self._source if isinstance(self._source, Start) else None

    def followed_by(self, activation: str | None) -> None:
        """Let the scale of the first values fit the activation; nothing once they are in use."""
        if activation is not None and self.start is not None and self._value is None:
            self._source = replace(self.start, activation=activation)


class Buffer(Kept):
    """A tensor that a layer keeps between calls without a gradient: running statistics.

    A layer replaces it by assignment, `self.running_mean = new_mean`, and never changes it in
    place, so that a whole training step stays a pure function (see `functional_call`).
    """

    def __init__(self, data: Any):
        super().__init__(data)
