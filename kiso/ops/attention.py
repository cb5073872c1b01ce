"""Attention: every query takes a mean of the values, weighted by how well their keys fit.

    A = softmax(Q K^T / sqrt(E))        Y = A V

Q (..., L, E), K (..., S, E), V (..., S, Ev) -> Y (..., L, Ev). Row l of A says how much query l
takes from each of the S places; the division keeps the scores from growing with E.

Source: Vaswani et al., "Attention Is All You Need", 2017.
"""

from __future__ import annotations

import math

import numpy as np

from kiso.errors import ConfigError, ShapeError
from kiso.ops.elementwise import where
from kiso.ops.matmul import matmul, swap_last
from kiso.ops.op import Array, Value, shape_of
from kiso.ops.softmax import softmax

__all__ = ["attention_weights", "causal_mask", "scaled_dot_product_attention"]


def causal_mask(L: int, S: int) -> Array:
    """Bools (L, S): True where place s is behind query l, in its future."""
    return np.triu(np.ones((L, S), bool), 1)


def attention_weights(q: Value, k: Value, mask: Value | None = None, *,
                      seen: bool = False) -> Value:
    """A = softmax(Q K^T / sqrt(E)), (..., L, S); rows sum to 1.

    mask, broadcast to A: floats are added to the scores; bools take places out, those that are True
    or, with `seen`, those that are False. A row without any place gives NaN, as in PyTorch.
    Errors: ShapeError if queries and keys differ in their last axis.
    """
    a, b = shape_of(q), shape_of(k)
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-1]:
        raise ShapeError(f"attention: queries {a} and keys {b} must be (..., L, E) and (..., S, E) "
                         "with the same E.")
    scores = matmul(q * (1 / math.sqrt(a[-1])), swap_last(k))
    if mask is None:
        return softmax(scores, -1)
    if mask.dtype.kind != "b":
        return softmax(scores + mask, -1)
    out = -math.inf
    return softmax(where(mask, scores, out) if seen else where(mask, out, scores), -1)


def scaled_dot_product_attention(q: Value, k: Value, v: Value, attn_mask: Value | None = None, *,
                                 is_causal: bool = False) -> Value:
    """Y = softmax(Q K^T / sqrt(E)) V.

    attn_mask as in PyTorch: bools are True where a query *may* look; floats are added to the
    scores. is_causal: query l sees places 0 ... l alone; then there is no other mask.
    Errors: ConfigError for both, ShapeError if the shapes do not fit.
    """
    if not is_causal:
        return matmul(attention_weights(q, k, attn_mask, seen=True), v)
    if attn_mask is not None:
        raise ConfigError("attention: is_causal has its own mask; leave attn_mask out.")
    return matmul(attention_weights(q, k, causal_mask(shape_of(q)[-2], shape_of(k)[-2])), v)
