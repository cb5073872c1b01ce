"""Multi-head attention: several attentions side by side, each on a part of the features."""

from __future__ import annotations

from typing import Any

import numpy as np

from kiso import ops
from kiso.errors import ConfigError, ShapeError
from kiso.nn.checks import count
from kiso.nn.dropout import Dropout
from kiso.nn.init import Rule, new_start
from kiso.nn.linear import Linear
from kiso.nn.module import Module
from kiso.nn.parameter import Parameter
from kiso.ops import Value

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Y = concat(head_1 ... head_h) Wo^T + bo,  head_i = softmax(Q_i K_i^T / sqrt(d)) V_i.

    Q, K, V are query, key and value through a dense layer each, whose weights lie above each other
    in in_proj_weight (3 E, E); head i takes the features i d ... (i + 1) d - 1 of them, d = E / h.
    query (L, N, E), key and value (S, N, E) -> (L, N, E), or with batch_first (N, L, E) and so on.
    Names and layout of the parameters are PyTorch's. Self-attention: layer(x, x, x).

    Dropout acts on the attention weights. Biases start at 0, in_proj by Xavier (fan of E to 3 E).
    Source: Vaswani et al. 2017.
    Errors: ConfigError if num_heads does not divide embed_dim; ShapeError for other inputs.
    """

    embed_dim: int
    num_heads: int
    batch_first: bool
    in_proj_weight: Parameter
    in_proj_bias: Parameter | None
    out_proj: Linear
    dropout: Dropout

    def __init__(self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, *,
                 batch_first: bool = False, init: str | Rule | None = None):
        E = self.embed_dim = count("MultiheadAttention", "embed_dim", embed_dim)
        self.num_heads = count("MultiheadAttention", "num_heads", num_heads)
        if E % self.num_heads:
            raise ConfigError(f"MultiheadAttention: embed_dim is {E}, which cannot be shared out "
                              f"evenly to {num_heads} heads; use a multiple of it.")
        self.batch_first = bool(batch_first)
        self.in_proj_weight = Parameter(new_start((3 * E, E), init or "xavier_uniform"))
        self.in_proj_bias = Parameter(np.zeros(3 * E, np.float32)) if bias else None
        self.out_proj = Linear(E, E, bias, init=init)
        self.dropout = Dropout(dropout)

    def projected(self, x: Value, which: int) -> Value:
        """Query (0), key (1) or value (2) of every head: (N, T, E) -> (N, h, T, d)."""
        E, (n, t, _) = self.embed_dim, ops.shape_of(x)
        rows = slice(which * E, (which + 1) * E)
        y = ops.matmul(x, ops.transpose(self.in_proj_weight[rows]))
        if self.in_proj_bias is not None:
            y = y + self.in_proj_bias[rows]
        return ops.transpose(ops.reshape(y, (n, t, self.num_heads, -1)), (0, 2, 1, 3))

    def forward(self, query: Value, key: Value, value: Value, key_padding_mask: Any = None,
                need_weights: bool = True, attn_mask: Any = None,
                average_attn_weights: bool = True) -> tuple[Value, Value | None]:
        """(Y, A): the result, and the weights (N, L, S), the mean over the heads, if needed.

        key_padding_mask (N, S): True takes a key out for all queries of its sample. attn_mask
        (L, S) or (N h, L, S): True takes a place out, floats are added to the scores. Without
        average_attn_weights A is (N, h, L, S).
        """
        if not self.batch_first:
            query, key, value = (ops.transpose(x, (1, 0, 2)) for x in (query, key, value))
        q_shape, k_shape = ops.shape_of(query), ops.shape_of(key)
        if (len(q_shape) != 3 or q_shape[::2] != (k_shape[0], self.embed_dim)
                or ops.shape_of(value) != k_shape or k_shape[2:] != (self.embed_dim,)):
            raise ShapeError(f"attention takes queries (N, L, {self.embed_dim}), keys and values "
                             f"(N, S, {self.embed_dim}), but they are {q_shape}, {k_shape} and "
                             f"{ops.shape_of(value)} (with the batch axis first).")
        n, length, _ = q_shape
        q, k, v = (self.projected(x, i) for i, x in enumerate((query, key, value)))
        mask = self.mask(key_padding_mask, attn_mask, n)
        weights = ops.attention_weights(q, k, mask)
        heads = ops.matmul(self.dropout(weights), v)  # (N, h, L, d)
        joined = ops.reshape(ops.transpose(heads, (0, 2, 1, 3)), (n, length, self.embed_dim))
        y = self.out_proj(joined)
        if not self.batch_first:
            y = ops.transpose(y, (1, 0, 2))
        if not need_weights:
            return y, None
        return y, ops.mean(weights, 1) if average_attn_weights else weights

    def mask(self, padding: Any, places: Any, n: int) -> Any:
        """Both masks as one that broadcasts to (N, h, L, S), None if there is none."""
        if padding is not None:
            padding = ops.reshape(padding, (n, 1, 1, ops.shape_of(padding)[1]))
        if places is not None and len(ops.shape_of(places)) == 3:
            places = ops.reshape(places, (n, self.num_heads, *ops.shape_of(places)[1:]))
        if padding is None or places is None:
            return places if padding is None else padding
        return _added(padding) + _added(places)


def _added(mask: Any) -> Any:
    """A mask as numbers that are added to the scores."""
    if mask.dtype.kind != "b":
        return mask
    return ops.where(mask, np.float32(-np.inf), np.float32(0))
