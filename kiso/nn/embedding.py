"""Embedding: a row of numbers, which is learnt, for each word of a vocabulary."""

from __future__ import annotations

import numpy as np

from kiso import ops
from kiso.errors import ConfigError, DTypeError
from kiso.nn.checks import count
from kiso.nn.init import Rule, new_start, normal
from kiso.nn.module import Module
from kiso.nn.parameter import Parameter
from kiso.ops import Array, Shape, Value

__all__ = ["Embedding"]


class Embedding(Module):
    """y[...] = W[i[...]]: whole numbers (...) from 0 to num_embeddings - 1 -> (..., embedding_dim).

    The same as a one-hot row times W, without the product; the gradient of W collects, for each
    row, those of all places where it was picked. W (num_embeddings, embedding_dim) starts as
    N(0, 1), as in PyTorch. The row `padding_idx` stands for "nothing": it starts at 0 and gets no
    gradient.

    Errors: ConfigError for impossible numbers, DTypeError for indices that are not whole numbers.
    """

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None
    weight: Parameter

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, *,
                 init: str | Rule | None = None):
        rows = self.num_embeddings = count("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = count("Embedding", "embedding_dim", embedding_dim)
        if padding_idx is not None and not -rows <= padding_idx < rows:
            raise ConfigError(f"Embedding: padding_idx is {padding_idx}; expected a row of the "
                              f"{rows}, or None.")
        pad = self.padding_idx = None if padding_idx is None else padding_idx % rows

        def start(shape: Shape, rng: np.random.Generator) -> Array:
            values = normal(shape, rng, std=1.0)
            if pad is not None:
                values[pad] = 0
            return values
        self.weight = Parameter(new_start((rows, self.embedding_dim), init or start))

    def forward(self, x: Value) -> Value:
        """(...) -> (..., embedding_dim)"""
        if x.dtype.kind not in "iu":
            raise DTypeError(f"Embedding: indices must be whole numbers, but they are {x.dtype}.")
        y = ops.take(self.weight, x)
        if self.padding_idx is None:
            return y
        real = ops.expand_dims(ops.not_equal(x, self.padding_idx), -1)
        return ops.where(real, y, y.detach())  # the value all the same, a gradient where it is real

    def extra_repr(self) -> str:
        pad = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{pad}"
