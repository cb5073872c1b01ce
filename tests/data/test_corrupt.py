"""Corruption: its text, what each word does, and that it follows from key and row alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiso import ops
from kiso.compiler import trace
from kiso.data import Corrupt
from kiso.data.corrupt import JUDGED
from kiso.errors import ConfigError, DataError, DescriptionError

KEY = ops.make_key(0, 1)
EVERYTHING = "noise0.5 drop0.3 cutout4"
strengths = st.fixed_dictionaries({}, optional={
    "noise": st.floats(0.01, 10), "drop": st.floats(0.01, 0.99), "cutout": st.integers(0, 512)})


def pictures(N=6, C=3, H=12, W=11, seed=0):
    return np.random.default_rng(seed).normal(size=(N, C, H, W)).astype(np.float32)


@given(strengths)
def test_text_and_back(options):
    corrupt = Corrupt(**options)
    assert Corrupt.parse(str(corrupt)) == corrupt
    assert bool(corrupt) == bool(str(corrupt))


@pytest.mark.parametrize(("text", "word", "reason"), [
    ("noise.3 blur2", "blur2", "blur2 is not known; expected some of noise0.5, drop0.3, cutout8"),
    ("noise", "noise", "noise needs a number, for example noise0.5"),
    ("drop1.5", "drop1.5", "drop must be above 0 and at most 0.99, but 1.5 came"),
    ("cutout2.5", "cutout2.5", "cutout takes a whole number of pixels"),
    ("noise1, noise2", "noise2", "noise comes twice"),
])
def test_error_points_at_the_word(text, word, reason):
    with pytest.raises(DescriptionError, match="cannot read the corruption") as caught:
        Corrupt.parse(text)
    _, line, marks, why = str(caught.value).split("\n")
    assert line[4:] == text
    assert text[marks.index("^") - 4:marks.rindex("^") - 3] == word
    assert reason in why


def test_wrong_strengths():
    with pytest.raises(ConfigError, match="noise"):
        Corrupt(noise=-1.0)
    with pytest.raises(DataError, match="cutout8 is too large for pictures of 8x9"):
        Corrupt(cutout=8).apply(pictures(H=8, W=9), KEY, np.arange(6))
    with pytest.raises(DataError, match="at most 131072 pixels, but they have 400x400"):
        Corrupt(noise=1.0).apply(np.zeros((1, 1, 400, 400), "f"), KEY, np.arange(1))


def test_noise_is_normal_and_independent():
    x = np.zeros((40, 3, 32, 32), np.float32)
    y = Corrupt(noise=0.5).apply(x, KEY, np.arange(40))
    assert y.dtype == np.float32 and y.shape == x.shape
    n = y.size
    assert abs(y.mean()) < 5 * 0.5 / n**0.5
    assert abs(y.std() - 0.5) < 5 * 0.5 / (2 * n) ** 0.5
    assert abs((np.abs(y) < 0.5).mean() - 0.6827) < 5 * (0.22 / n) ** 0.5
    for a, b in [(y[:, 0], y[:, 1]), (y[0::2], y[1::2]), (y[..., :-1], y[..., 1:])]:
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / a.size**0.5


def test_drop_takes_whole_pixels():
    x = np.ones((30, 3, 16, 16), np.float32)
    y = Corrupt(drop=0.3).apply(x, KEY, np.arange(30))
    gone = y == 0
    assert (y[~gone] == 1).all() and (gone == gone[:, :1]).all()
    assert abs(gone.mean() - 0.3) < 5 * (0.21 / (30 * 256)) ** 0.5


def test_cutout_is_one_square():
    y = Corrupt(cutout=5).apply(np.ones((20, 2, 12, 9), np.float32), KEY, np.arange(20))
    for picture in y:
        rows, columns = (np.flatnonzero((picture == 0).any((0, axis))) for axis in (2, 1))
        assert (picture == 0).sum() == 2 * 25
        assert np.ptp(rows) == 4 and np.ptp(columns) == 4


@given(st.permutations(range(6)), st.integers(1, 6), st.integers(0, 10**6))
def test_a_sample_does_not_depend_on_its_batch(permutation, size, first):
    x, rows, corrupt = pictures(), np.arange(6) + first, Corrupt.parse(EVERYTHING)
    together = corrupt.apply(x, KEY, rows)
    order = np.array(permutation)
    for start in range(0, 6, size):
        part = order[start:start + size]
        np.testing.assert_array_equal(corrupt.apply(x[part], KEY, rows[part]), together[part])


def test_keys_and_rows_differ():
    x = np.repeat(pictures(1), 5, axis=0)
    for text in EVERYTHING.split():
        corrupt = Corrupt.parse(text)
        found = [corrupt.apply(x, key, np.arange(5))
                 for key in (KEY, ops.make_key(0, 2), ops.make_key(1, 1), JUDGED)]
        for a in range(4):
            assert len({one.tobytes() for one in found[a]}) > 1
            assert all((found[a] != found[b]).any() for b in range(a))


def test_a_traced_corruption_has_the_same_bits():
    x, corrupt = pictures(), Corrupt.parse(EVERYTHING)
    traced = trace(corrupt.apply, x, KEY, np.arange(6))
    np.testing.assert_array_equal(traced(x, KEY, np.arange(6) + 3),
                                  corrupt.apply(x, KEY, np.arange(6) + 3))
    assert corrupt.apply(x, KEY, np.arange(6)) is not x and Corrupt().apply(x, KEY, None) is x
