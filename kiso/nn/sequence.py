"""Recurrent layers: a cell along a sequence, in several layers and both directions.

The loop over time is unrolled: a layer knows the length T of its input when it is called, and makes
a graph of T steps, through which gradients flow back as through any deep net (back-propagation
through time). The inputs of all steps are projected in one product.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from kiso import ops
from kiso.errors import ShapeError
from kiso.nn.checks import choice, count
from kiso.nn.dropout import Dropout
from kiso.nn.init import Rule
from kiso.nn.module import Module
from kiso.nn.recurrent import (
    State,
    gru_step,
    lstm_step,
    projected,
    rnn_step,
    small_parameter,
)
from kiso.ops import Value

__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]


class Recurrent(Module):
    """Base of RNN, LSTM and GRU: (output, last state) for x (T, N, I), or (N, T, I) batch_first.

    output (T, N, D H) holds h of the last layer at every step; the state h_n (layers D, N, H) that
    of every layer at its end, D = 2 directions if bidirectional, else 1. Layer k > 0 reads what
    layer k - 1 gives, in training through dropout. Parameters are called weight_ih_l0, ... and
    weight_ih_l0_reverse, ..., in PyTorch's layout; see `kiso.nn.recurrent` for the steps.

    Errors: ConfigError for impossible numbers, ShapeError for other inputs.
    """

    gates: ClassVar[int]
    states: ClassVar[int] = 1
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    bidirectional: bool
    dropout: Dropout

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1,
                 bias: bool = True, batch_first: bool = False, dropout: float = 0.0,
                 bidirectional: bool = False, *, init: str | Rule | None = None):
        name = type(self).__name__
        self.input_size = count(name, "input_size", input_size)
        hidden = self.hidden_size = count(name, "hidden_size", hidden_size)
        self.num_layers = count(name, "num_layers", num_layers)
        self.bias, self.batch_first = bool(bias), bool(batch_first)
        self.bidirectional = bool(bidirectional)
        self.dropout = Dropout(dropout)
        rows = self.gates * hidden
        for k, end in self.ways():
            inputs = self.input_size if k == 0 else hidden * len(self.ends())
            setattr(self, f"weight_ih_l{k}{end}", small_parameter((rows, inputs), hidden, init))
            setattr(self, f"weight_hh_l{k}{end}", small_parameter((rows, hidden), hidden, init))
            if self.bias:
                setattr(self, f"bias_ih_l{k}{end}", small_parameter((rows,), hidden))
                setattr(self, f"bias_hh_l{k}{end}", small_parameter((rows,), hidden))

    def ends(self) -> list[str]:
        """Endings of the names for each direction."""
        return ["", "_reverse"] if self.bidirectional else [""]

    def ways(self) -> list[tuple[int, str]]:
        """(layer, ending) in the order of the states."""
        return [(k, end) for k in range(self.num_layers) for end in self.ends()]

    def step(self, a: Value, b: Value, state: State) -> State:
        """One step of the cell."""
        raise NotImplementedError

    def along(self, x: Value, k: int, end: str, state: State) -> tuple[list[Value], State]:
        """One layer in one direction over x (T, N, I): h at every step, and the last state."""
        own = {n: getattr(self, f"{n}_l{k}{end}", None)
               for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        a = projected(x, own["weight_ih"], own["bias_ih"])  # all steps at once
        times = range(ops.shape_of(x)[0])
        hs: list[Value] = []
        for t in reversed(times) if end else times:
            b = projected(state[0], own["weight_hh"], own["bias_hh"])
            state = self.step(a[t], b, state)
            hs.append(state[0])
        return hs[::-1] if end else hs, state

    def start(self, x: Value, hx: Any) -> list[State]:
        """The first state of each way: given (layers D, N, H), or zeros."""
        n, number = ops.shape_of(x)[1], len(self.ways())
        shape = (number, n, self.hidden_size)
        if hx is None:
            return [(np.zeros(shape[1:], x.dtype),) * self.states] * number
        given = tuple(hx) if self.states > 1 else (hx,)
        if len(given) != self.states or any(ops.shape_of(s) != shape for s in given):
            found = ", ".join(str(ops.shape_of(s)) for s in given)
            raise ShapeError(f"the first state must be {shape} (layers and directions, batch, "
                             f"units), but it is {found}.")
        return [tuple(s[way] for s in given) for way in range(number)]

    def forward(self, x: Value, hx: Any = None) -> tuple[Value, Any]:
        """(T, N, I) -> (T, N, D H), h_n (layers D, N, H); for an LSTM (h_n, c_n)."""
        shape = ops.shape_of(x)
        if len(shape) != 3 or shape[2] != self.input_size:
            order = "(N, T, " if self.batch_first else "(T, N, "
            raise ShapeError(f"the layer takes {order}{self.input_size}), but the input is "
                             f"{shape}.")
        x = ops.transpose(x, (1, 0, 2)) if self.batch_first else x
        first, last = self.start(x, hx), list[State]()
        for k in range(self.num_layers):
            ys: list[Value] = []
            for end in self.ends():
                hs, state = self.along(x, k, end, first[len(last)])
                ys.append(ops.stack(hs))
                last.append(state)
            x = ys[0] if len(ys) == 1 else ops.concat(ys, -1)
            x = self.dropout(x) if k < self.num_layers - 1 else x
        states = tuple(ops.stack(parts) for parts in zip(*last, strict=True))
        y = ops.transpose(x, (1, 0, 2)) if self.batch_first else x
        return y, states if self.states > 1 else states[0]

    def extra_repr(self) -> str:
        words = [f"{self.input_size}, {self.hidden_size}"]
        plain = {"num_layers": 1, "bias": True, "batch_first": False, "bidirectional": False}
        words += [f"{n}={getattr(self, n)}" for n, v in plain.items() if getattr(self, n) != v]
        return ", ".join(words + [f"dropout={self.dropout.p}"] * (self.dropout.p != 0))


class RNN(Recurrent):
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh), or relu; see `Recurrent`.  Elman 1990."""

    gates = 1
    nonlinearity: str

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1,
                 nonlinearity: str = "tanh", bias: bool = True, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, *,
                 init: str | Rule | None = None):
        self.nonlinearity = choice("RNN", "nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout,
                         bidirectional, init=init)

    def step(self, a: Value, b: Value, state: State) -> State:
        """h' = tanh(a + b), or relu"""
        return rnn_step(a, b, state, self.nonlinearity)

    def extra_repr(self) -> str:
        plain = self.nonlinearity == "tanh"
        return super().extra_repr() + ("" if plain else f", nonlinearity={self.nonlinearity!r}")


class LSTM(Recurrent):
    """Long short-term memory: gates i, f, g, o and a cell c, which nothing squashes on its way.

    Returns (output, (h_n, c_n)); see `Recurrent`. Source: Hochreiter and Schmidhuber 1997.
    """

    gates = 4
    states = 2

    def step(self, a: Value, b: Value, state: State) -> State:
        """c' = f c + i g,  h' = o tanh(c')"""
        return lstm_step(a, b, state)


class GRU(Recurrent):
    """Gated recurrent unit: gates r, z, n; see `Recurrent`.  Cho et al. 2014."""

    gates = 3

    def step(self, a: Value, b: Value, state: State) -> State:
        """h' = (1 - z) n + z h"""
        return gru_step(a, b, state)
