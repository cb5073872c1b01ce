"""Recurrent cells: one step of a plain recurrent net, an LSTM, a GRU.

With the input x_t (N, input_size) and the state h (N, hidden_size) a step computes, for each of G
gates of hidden_size units,

    a = W_ih x_t + b_ih          b = W_hh h + b_hh

    RNN   (G = 1)   h' = tanh(a + b), or relu
    LSTM  (G = 4)   i, f, g, o = parts of a + b
                    c' = sigmoid(f) c + sigmoid(i) tanh(g),   h' = sigmoid(o) tanh(c')
    GRU   (G = 3)   r, z, n = parts:  r = sigmoid(a_r + b_r),  z = sigmoid(a_z + b_z),
                    n = tanh(a_n + r b_n),   h' = (1 - z) n + z h

The order of the gates, the names and the first values (uniform within 1 / sqrt(hidden_size)) are
PyTorch's. The gates of one weight lie below each other: (G hidden_size, input_size).

Sources: Elman 1990; Hochreiter, Schmidhuber 1997, Gers et al. 2000 (forget gate); Cho et al. 2014.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import numpy as np

from kiso import ops
from kiso.errors import ShapeError
from kiso.nn.checks import choice, count
from kiso.nn.init import Rule, new_start, uniform
from kiso.nn.module import Module
from kiso.nn.parameter import Parameter
from kiso.ops import Shape, Value

__all__ = ["Cell", "GRUCell", "LSTMCell", "RNNCell", "State", "gru_step", "lstm_step", "projected",
           "rnn_step", "small_parameter"]

State = tuple[Value, ...]  # (h,), of an LSTM (h, c)


def small_parameter(shape: Shape, hidden: int, init: str | Rule | None = None) -> Parameter:
    """First values uniform within 1 / sqrt(hidden), or by a rule."""
    a = 1 / math.sqrt(hidden)
    return Parameter(new_start(shape, init or partial(uniform, low=-a, high=a)))


def projected(x: Value, W: Value, b: Value | None) -> Value:
    """x W^T + b."""
    y = ops.matmul(x, ops.transpose(W))
    return y if b is None else y + b


def _parts(x: Value, gates: int) -> list[Value]:
    size = ops.shape_of(x)[-1] // gates
    return [x[..., k * size:(k + 1) * size] for k in range(gates)]


def rnn_step(a: Value, b: Value, state: State, nonlinearity: str = "tanh") -> State:
    """h' = tanh(a + b), or relu(a + b)."""
    return (ops.tanh(a + b) if nonlinearity == "tanh" else ops.relu(a + b),)


def lstm_step(a: Value, b: Value, state: State) -> State:
    """c' = f c + i g,  h' = o tanh(c'); i, f and o go through a sigmoid, g through tanh."""
    _, c = state
    i, f, g, o = _parts(a + b, 4)
    new = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    return ops.sigmoid(o) * ops.tanh(new), new


def gru_step(a: Value, b: Value, state: State) -> State:
    """h' = (1 - z) n + z h with n = tanh(a_n + r b_n)."""
    (h,) = state
    (a_r, a_z, a_n), (b_r, b_z, b_n) = _parts(a, 3), _parts(b, 3)
    r, z = ops.sigmoid(a_r + b_r), ops.sigmoid(a_z + b_z)
    n = ops.tanh(a_n + r * b_n)
    return (n + z * (h - n),)


class Cell(Module):
    """Base of the cells: weight_ih (G H, I), weight_hh (G H, H), bias_ih and bias_hh (G H,)."""

    gates: ClassVar[int]
    input_size: int
    hidden_size: int
    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, *,
                 init: str | Rule | None = None):
        name = type(self).__name__
        inputs = self.input_size = count(name, "input_size", input_size)
        hidden = self.hidden_size = count(name, "hidden_size", hidden_size)
        rows = self.gates * hidden
        self.weight_ih = small_parameter((rows, inputs), hidden, init)
        self.weight_hh = small_parameter((rows, hidden), hidden, init)
        self.bias_ih = small_parameter((rows,), hidden) if bias else None
        self.bias_hh = small_parameter((rows,), hidden) if bias else None

    def both(self, x: Value, h: Value) -> tuple[Value, Value]:
        """a = W_ih x + b_ih and b = W_hh h + b_hh."""
        return (projected(x, self.weight_ih, self.bias_ih),
                projected(h, self.weight_hh, self.bias_hh))

    def start(self, x: Value, states: int = 1) -> State:
        """States of zeros, after a look at the input's shape."""
        shape = ops.shape_of(x)
        if len(shape) != 2 or shape[1] != self.input_size:
            raise ShapeError(f"the cell takes (N, {self.input_size}), but the input is {shape}.")
        return (np.zeros((shape[0], self.hidden_size), x.dtype),) * states

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}" + ", bias=False" * (self.bias_ih is None)


class RNNCell(Cell):
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh); x (N, input_size), h (N, hidden_size) or zeros.

    nonlinearity: "tanh" or "relu". Source: Elman 1990.
    """

    gates = 1
    nonlinearity: str

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True,
                 nonlinearity: str = "tanh", *, init: str | Rule | None = None):
        super().__init__(input_size, hidden_size, bias, init=init)
        self.nonlinearity = choice("RNNCell", "nonlinearity", nonlinearity, ("tanh", "relu"))

    def forward(self, x: Value, hx: Value | None = None) -> Value:
        """(N, I), (N, H) -> (N, H)"""
        state = self.start(x)
        h = state[0] if hx is None else hx
        return rnn_step(*self.both(x, h), (h,), self.nonlinearity)[0]


class LSTMCell(Cell):
    """(h', c') from x and (h, c) by the four gates i, f, g, o; see the top of this file.

    Source: Hochreiter and Schmidhuber 1997; Gers, Schmidhuber and Cummins 2000 (forget gate).
    """

    gates = 4

    def forward(self, x: Value, hx: Any = None) -> State:
        """(N, I), ((N, H), (N, H)) -> ((N, H), (N, H))"""
        state = self.start(x, 2)
        h, c = state if hx is None else hx
        return lstm_step(*self.both(x, h), (h, c))


class GRUCell(Cell):
    """h' from x and h by the three gates r, z, n; see the top of this file.  Cho et al. 2014."""

    gates = 3

    def forward(self, x: Value, hx: Value | None = None) -> Value:
        """(N, I), (N, H) -> (N, H)"""
        state = self.start(x)
        h = state[0] if hx is None else hx
        return gru_step(*self.both(x, h), (h,))[0]
