"""Random numbers from a counter: draw i of a step is a pure function of (seed, step, stream, i).

No generator state is carried along, so that masks can be made again in the backward pass, in
compiled code, by any number of threads and after a restart, with the same bits.

The key of a step is a uint32 array (seed low, seed high, step low, step high), see `make_key`. The
`stream`, a number fixed when the program is written, tells the draws of one step apart.
Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kiso.errors import ConfigError, DTypeError, ShapeError
from kiso.ops.compare import less
from kiso.ops.elementwise import cast, cos, log, sqrt
from kiso.ops.op import Array, Op, Shape, Value, shape_of
from kiso.ops.sample import Draw, Sample
from kiso.ops.shape import getitem

__all__ = ["Dropout", "Uniform", "UniformRows", "bernoulli", "dropout", "make_key", "normal",
           "philox", "uniform", "uniform_rows"]

_WORD = 0xFFFFFFFF  # 32 bits
_ROWS = 1 << 31  # top bit of the stream word: draws by row never meet draws by position
_KEY = Draw(4, low=0, high=2**32, dtype="uint32")


def philox(counter: Sequence[Array | int], key: tuple[int, int]) -> tuple[Array, ...]:
    """Philox 4x32-10: four words of counter (arrays or ints, broadcast) -> four random words.

    Ten rounds; each multiplies two words by odd constants to 64 bits, takes the halves apart,
    mixes them with the other words and the round key by exclusive or, and changes the places.
    """
    a, b, c, d = (np.asarray(word, np.uint64) for word in counter)
    k0, k1 = key
    for _ in range(10):
        p, q = a * 0xD2511F53, c * 0xCD9E8D57  # 32 x 32 bits: fits in 64
        a, b, c, d = (q >> 32) ^ (b ^ k0), q & _WORD, (p >> 32) ^ (d ^ k1), p & _WORD
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD  # golden ratio, sqrt(3) - 1
    return a, b, c, d


def make_key(seed: int, step: int) -> Array:
    """The key of one step: uint32 (seed low, seed high, step low, step high)."""
    words = (seed, seed >> 32, step, step >> 32)
    return np.array([word & _WORD for word in words], np.uint32)


def _floats(words: tuple[Array, ...], count: int) -> Array:
    """Words (..., blocks) -> `count` float32 in [0, 1) from the upper 24 bits, without rounding."""
    *lead, blocks = words[0].shape
    bits = np.empty((*lead, blocks, 4), np.uint32)
    for lane, word in enumerate(words):
        bits[..., lane] = word
    bits = bits.reshape(*lead, blocks * 4)[..., :count]  # the last block may be used in part
    return (bits >> 8).astype(np.float32) * np.float32(2.0**-24)


def _need_key(name: str, key: Shape) -> None:
    if key != (4,):
        raise ShapeError(f"{name}: the key must hold 4 words (seed low, seed high, step low, step "
                         f"high), but its shape is {key}; make it by make_key(seed, step).")


def _need_words(name: str, key: np.dtype) -> None:
    if key != np.uint32:
        raise DTypeError(f"{name}: the key must be uint32, but it is {key}; make it by "
                         "make_key(seed, step).")


def _need_stream(name: str, stream: int, end: int) -> None:
    if not 0 <= stream < end:
        raise ConfigError(f"{name}: stream must be from 0 to {end - 1}, but it is {stream}.")


def _uniform(key: Array, size: int, stream: int) -> Array:
    """`size` float32 numbers in [0, 1): number i is word i % 4 of block i // 4."""
    k0, k1, k2, k3 = (int(word) for word in key)
    blocks = np.arange(-(-size // 4), dtype=np.uint64)
    return _floats(philox((blocks, stream, k2, k3), (k0, k1)), size)


class Uniform(Op):
    """y_i uniform in [0, 1), float32 of shape `dims`; no gradient.

    Element i (row-major) is word i % 4 of the Philox block with the counter
    (i // 4, stream, key[2], key[3]) under the key (key[0], key[1]); y_i = floor(word / 2^8) / 2^24.
    """

    dims: Shape
    stream: int
    samples = (
        Sample(_KEY, dims=(2, 3), stream=0),
        Sample(_KEY, dims=(), stream=1),
        Sample(_KEY, dims=(3, 0), stream=1),
        Sample(_KEY, dims=(2, 3, 7), stream=2**31 - 1),
    )

    def shape(self, key: Shape) -> Shape:
        _need_key("uniform", key)
        _need_stream("uniform", self.stream, _ROWS)
        return self.dims

    def dtype(self, key: np.dtype) -> np.dtype:
        _need_words("uniform", key)
        return np.dtype(np.float32)

    def forward(self, key: Array) -> Array:
        return _uniform(key, math.prod(self.dims), self.stream).reshape(self.dims)

    def backward(self, gy: Value, y: Value, key: Value) -> None:
        return None


class UniformRows(Op):
    """y[n, i] uniform in [0, 1), float32 (N, count), by row ids instead of positions; no gradient.

    Row n depends on key, stream and rows[n] (int64 (N,), taken modulo 2^32) alone, so that a
    sample draws the same numbers in whichever batch it comes. Counter of y[n, i]:
    (rows[n], 2^31 + 2^16 (i // 4) + stream, key[2], key[3]); stream < 2^16, count <= 2^17.
    """

    count: int
    stream: int
    samples = (
        Sample(_KEY, Draw(3, low=0, high=60000, dtype="int"), count=6, stream=0),
        Sample(_KEY, Draw(0, dtype="int"), count=3, stream=5),
        Sample(_KEY, Draw(5, low=0, high=2, dtype="int"), count=1, stream=2**16 - 1),
        Sample(_KEY, Draw(2, low=0, high=2**40, dtype="int"), count=8, stream=1),
    )

    def shape(self, key: Shape, rows: Shape) -> Shape:
        _need_key("uniform_rows", key)
        _need_stream("uniform_rows", self.stream, 1 << 16)
        if len(rows) != 1:
            raise ShapeError(f"uniform_rows: rows must have one axis, the ids of the samples, but "
                             f"their shape is {rows}.")
        if not 0 < self.count <= 1 << 17:
            raise ConfigError(f"uniform_rows: count must be from 1 to {1 << 17}, but it is "
                              f"{self.count}.")
        return (*rows, self.count)

    def dtype(self, key: np.dtype, rows: np.dtype) -> np.dtype:
        _need_words("uniform_rows", key)
        if rows.kind not in "iu":
            raise DTypeError(f"uniform_rows: rows must be integers (the ids of the samples), but "
                             f"they are {rows}.")
        return np.dtype(np.float32)

    def forward(self, key: Array, rows: Array) -> Array:
        k0, k1, k2, k3 = (int(word) for word in key)
        blocks = np.arange(-(-self.count // 4), dtype=np.uint64)
        ids = rows.astype(np.int64) & _WORD
        stream = _ROWS + (blocks << 16) + self.stream
        words = philox((ids[:, None], stream, k2, k3), (k0, k1))
        return _floats(words, self.count)

    def backward(self, gy: Value, y: Value, key: Value, rows: Value) -> tuple[None, None]:
        return None, None


class Dropout(Op):
    """y = x m / (1 - p), each m_i 0 with chance p, else 1 (inverted dropout).

    Dividing by 1 - p keeps the mean of y at x, so that inference needs no change. dy/dx is the
    same op applied to gy: the mask is made again from the key, m_i = [uniform_i >= p].
    Source: Srivastava et al., "Dropout" (2014).
    """

    p: float
    stream: int
    samples = (
        Sample((2, 3), _KEY, p=0.5, stream=0),
        Sample((), _KEY, p=0.3, stream=1),
        Sample((4, 3, 5, 5), _KEY, p=0.2, stream=2),
        Sample((2, 0), _KEY, p=0.9, stream=3),
        Sample((7,), _KEY, p=0.0, stream=4),
    )

    def shape(self, x: Shape, key: Shape) -> Shape:
        _need_key("dropout", key)
        _need_stream("dropout", self.stream, _ROWS)
        if not 0 <= self.p < 1:
            raise ConfigError(f"dropout: p is the share of units that are set to 0; it must be at "
                              f"least 0 and below 1, but it is {self.p}.")
        return x

    def dtype(self, x: np.dtype, key: np.dtype) -> np.dtype:
        _need_words("dropout", key)
        if x.kind != "f":
            raise DTypeError(f"dropout: x must be floating-point numbers, but it is {x}; convert "
                             "it first: x.astype('float32').")
        return x

    def forward(self, x: Array, key: Array) -> Array:
        keep = _uniform(key, x.size, self.stream).reshape(x.shape) >= self.p
        return np.where(keep, x * (1 / (1 - self.p)), 0)

    def backward(self, gy: Value, y: Value, x: Value, key: Value) -> tuple[Value, None]:
        return self(gy, key), None


def uniform(key: Value, *, shape: Sequence[int], stream: int, low: float = 0.0,
            high: float = 1.0) -> Value:
    """float32 numbers, uniform from low to high (`high` itself comes up by rounding at most)."""
    u = Uniform(dims=tuple(shape), stream=stream)(key)
    return u if (low, high) == (0.0, 1.0) else low + u * (high - low)


def normal(key: Value, *, shape: Sequence[int], stream: int, mean: float = 0.0,
           std: float = 1.0) -> Value:
    """float32 numbers from N(mean, std^2), at most 5.77 std from the mean (24 bits).

    z = sqrt(-2 ln u) cos(2 pi v) of two uniform numbers, 0 < u <= 1 (Box and Muller 1958).
    """
    pair = uniform(key, shape=(2, *shape), stream=stream)
    u, v = 1 - getitem(pair, 0), getitem(pair, 1)
    z = sqrt(-2 * log(u)) * cos(2 * math.pi * v)
    return z if (mean, std) == (0.0, 1.0) else mean + z * std


def bernoulli(key: Value, *, shape: Sequence[int], stream: int, p: float = 0.5) -> Value:
    """float32: 1 with chance p, else 0."""
    return cast(less(uniform(key, shape=shape, stream=stream), p), np.float32)


def uniform_rows(key: Value, rows: Value, *, count: int, stream: int) -> Value:
    """float32 (N, count) in [0, 1); row n depends on key, stream and the id rows[n] alone."""
    return UniformRows(count=count, stream=stream)(key, rows)


def dropout(x: Value, key: Value, *, p: float, stream: int) -> Value:
    """Inverted dropout: a share p (0 <= p < 1) of x set to 0, the rest divided by 1 - p.

    For the training phase; in inference leave it out. `x` itself for p = 0.
    Errors: ConfigError for p outside [0, 1).
    """
    op = Dropout(p=p, stream=stream)
    op.shape(shape_of(x), shape_of(key))
    return x if p == 0 else op(x, key)
