"""Random numbers: published vectors of Philox, independence, distributions, dropout."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from kiso import ops
from kiso.autograd import Tensor, grad
from kiso.compiler import trace
from kiso.errors import ConfigError, DTypeError, ShapeError
from tests.ops import ref_random

words = st.integers(0, 2**32 - 1)
KEY = ops.make_key(7, 3)


def read(text):
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize("counter, key, expected", [  # kat_vectors of the Random123 library
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
])
def test_published_vectors(counter, key, expected):
    assert [int(w) for w in ops.philox(read(counter), tuple(read(key)))] == read(expected)
    assert ref_random.philox(read(counter), read(key)) == read(expected)


@given(st.lists(words, min_size=4, max_size=4), st.tuples(words, words),
       st.lists(words, min_size=1, max_size=5))
def test_philox_equals_plain_python(counter, key, many):
    got = np.stack(ops.philox([np.array(many, np.uint32), *counter[1:]], key), axis=-1)
    assert got.tolist() == [ref_random.philox([word, *counter[1:]], key) for word in many]


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_key_holds_both_numbers(seed, step):
    key = ops.make_key(seed, step)
    low, high, step_low, step_high = key.tolist()
    assert key.dtype == np.uint32
    assert (low + (high << 32), step_low + (step_high << 32)) == (seed, step)


def test_uniform_is_uniform():
    u = ops.uniform(KEY, shape=(500, 400), stream=0)
    assert u.dtype == np.float32
    assert 0 <= u.min() < 1e-4 and 1 - 1e-4 < u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=0.002)
    assert u.var() == pytest.approx(1 / 12, rel=0.01)
    assert scipy.stats.kstest(u.ravel(), "uniform").pvalue > 0.01


def test_normal_is_normal():
    z = ops.normal(KEY, shape=(200000,), stream=0)
    assert z.dtype == np.float32
    assert z.mean() == pytest.approx(0, abs=0.01)
    assert z.var() == pytest.approx(1, rel=0.01)
    assert scipy.stats.kstest(z, "norm").pvalue > 0.01
    assert np.abs(z).max() < 5.78
    w = ops.normal(KEY, shape=(200000,), stream=0, mean=3, std=0.5)
    np.testing.assert_allclose(w, 3 + z * 0.5, rtol=1e-6)


def test_bernoulli_and_range():
    b = ops.bernoulli(KEY, shape=(100000,), stream=0, p=0.3)
    assert set(np.unique(b)) == {0.0, 1.0}
    assert b.mean() == pytest.approx(0.3, abs=0.01)
    u = ops.uniform(KEY, shape=(10000,), stream=0, low=-2, high=3)
    assert -2 <= u.min() < -1.99 and 2.99 < u.max() <= 3


def test_streams_steps_seeds_and_rows_are_unrelated():
    n = 100000
    draws = [ops.uniform(ops.make_key(seed, step), shape=(n,), stream=stream)
             for seed in (0, 1, 2**32) for step in (0, 1, 2**32) for stream in (0, 1)]
    draws += [ops.uniform_rows(KEY, np.arange(n // 4), count=4, stream=s).ravel() for s in (0, 1)]
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlation).max() < 5 / np.sqrt(n)


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_longer_draw_begins_like_a_shorter_one(a, b):
    short, long = sorted((a, b))
    np.testing.assert_array_equal(ops.uniform(KEY, shape=(long,), stream=2)[:short],
                                  ops.uniform(KEY, shape=(short,), stream=2))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8), st.integers(1, 9))
def test_a_row_depends_on_its_id_alone(ids, count):
    together = ops.uniform_rows(KEY, np.array(ids), count=count, stream=1)
    alone = [ops.uniform_rows(KEY, np.array([i]), count=count, stream=1)[0] for i in ids]
    np.testing.assert_array_equal(together, alone)


def test_rows_of_any_integer_type():
    for dtype in ("uint8", "int32", "uint64"):
        np.testing.assert_array_equal(
            ops.uniform_rows(KEY, np.array([3, 200], dtype), count=5, stream=0),
            ops.uniform_rows(KEY, np.array([3, 200]), count=5, stream=0))


@given(st.floats(0.05, 0.95), st.integers(0, 100))
def test_dropout_keeps_the_mean(p, seed):
    y = ops.dropout(np.ones(20000, "f"), ops.make_key(seed, 0), p=p, stream=0)
    assert set(np.unique(y).tolist()) == {0.0, float(np.float32(1 / (1 - p)))}
    assert np.mean(y == 0) == pytest.approx(p, abs=6 * np.sqrt(p * (1 - p) / 20000))
    assert y.mean() == pytest.approx(1, abs=6 * np.sqrt(p / (1 - p) / 20000))


def test_gradient_of_dropout_uses_the_same_mask():
    x = Tensor(np.ones((30, 40)), requires_grad=True)
    y = ops.dropout(x, KEY, p=0.4, stream=1)
    (g,) = grad(y.sum(), [x])
    np.testing.assert_array_equal(g.data, y.data)
    other = ops.dropout(x, KEY, p=0.4, stream=2)
    assert (other.data != y.data).any()


def test_dropout_without_probability_is_the_input():
    x = np.ones(3)
    assert ops.dropout(x, KEY, p=0, stream=0) is x


def test_traced_draws_follow_the_key_at_run_time():
    def f(key, x):
        return (ops.normal(key, shape=(3, 5), stream=0), ops.dropout(x, key, p=0.5, stream=1),
                ops.bernoulli(key, shape=(9,), stream=2))

    traced = trace(f, KEY, np.ones((4, 4), "f"))
    for step in range(3):
        key = ops.make_key(1, step)
        for a, b in zip(traced(key, np.ones((4, 4), "f")), f(key, np.ones((4, 4), "f")),
                        strict=True):
            np.testing.assert_array_equal(a, b)


def test_errors():
    with pytest.raises(ConfigError, match="below 1, but it is 1"):
        ops.dropout(np.ones(3), KEY, p=1, stream=0)
    with pytest.raises(ConfigError, match=r"but it is -0\.1"):
        ops.dropout(np.ones(3), KEY, p=-0.1, stream=0)
    with pytest.raises(ConfigError, match="stream must be"):
        ops.uniform(KEY, shape=(2,), stream=-1)
    with pytest.raises(ConfigError, match="stream must be"):
        ops.uniform_rows(KEY, np.arange(2), count=1, stream=2**16)
    with pytest.raises(ConfigError, match="count must be"):
        ops.uniform_rows(KEY, np.arange(2), count=0, stream=0)
    with pytest.raises(ShapeError, match="make_key"):
        ops.uniform(np.zeros(2, np.uint32), shape=(2,), stream=0)
    with pytest.raises(ShapeError, match="one axis"):
        ops.uniform_rows(KEY, np.zeros((2, 2), np.int64), count=1, stream=0)
    with pytest.raises(DTypeError, match="uint32"):
        ops.uniform(np.zeros(4), shape=(2,), stream=0)
    with pytest.raises(DTypeError, match="integers"):
        ops.uniform_rows(KEY, np.zeros(2), count=1, stream=0)
