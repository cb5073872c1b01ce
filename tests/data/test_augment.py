"""Augmentation: its text, its determinism, and what each word does to a picture."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiso import ops
from kiso.autograd import Tensor
from kiso.compiler import trace
from kiso.data.augment import Augment
from kiso.errors import ConfigError, DataError, DescriptionError, DTypeError
from kiso.text import set_language

KEY = ops.make_key(0, 1)
EVERYTHING = "shift2 crop1 flip altflip rotate10 scale0.1 colour0.2 cutout4"
strengths = st.fixed_dictionaries({}, optional={
    "shift": st.integers(0, 5), "crop": st.integers(0, 5), "flip": st.booleans(),
    "altflip": st.booleans(),
    "rotate": st.floats(0, 180, exclude_min=True), "scale": st.floats(1e-9, 0.9),
    "colour": st.floats(1e-9, 1), "cutout": st.integers(0, 5)})


def pictures(N=6, C=3, H=12, W=11, seed=0):
    return np.random.default_rng(seed).normal(size=(N, C, H, W)).astype(np.float32)


def ramp(N, H=9, W=9):
    """Pictures whose value tells the pixel: 100 i + j + 1."""
    i, j = np.indices((H, W))
    return np.broadcast_to(100.0 * i + j + 1, (N, 1, H, W)).astype(np.float32)


# The text

@given(strengths)
def test_text_and_back(options):
    augment = Augment(**options)
    assert Augment.parse(str(augment)) == augment
    assert bool(augment) == bool(str(augment))


def test_parse():
    assert Augment.parse("Color.2, flip\tshift3") == Augment(colour=0.2, flip=True, shift=3)
    assert str(Augment.parse("color0.20 flip rotate10. shift3")) == "shift3 flip rotate10 colour0.2"
    assert Augment.parse("  ") == Augment()
    assert str(Augment()) == ""


@pytest.mark.parametrize("text, word, reason", [
    ("shift2 flp rotate10", "flp", "flp is not known; expected some of shift2, crop4"),
    ("shift2 rotate", "rotate", "rotate needs a number, for example rotate10"),
    ("flip2", "flip2", "flip takes no number"),
    ("flip crop1.5", "crop1.5", "crop takes a whole number of pixels, but 1.5 came"),
    ("scale1.2", "scale1.2", "scale must be above 0 and at most 0.9, but 1.2 came"),
    ("colour0", "colour0", "colour must be above 0 and at most 1, but 0.0 came"),
    ("shift1 color.1 colour.2", "colour.2", "colour comes twice"),
    ("rotate-5", "rotate-5", "rotate-5 is not known"),
    ("rotate.", "rotate.", "needs a number"),
    ("反転", "反転", "反転 is not known"),
])
def test_error_points_at_the_word(text, word, reason):
    with pytest.raises(DescriptionError) as caught:
        Augment.parse(text)
    _, line, marks, why = str(caught.value).split("\n")
    assert line[4:] == text
    assert text[marks.index("^") - 4:marks.rindex("^") - 3] == word
    assert reason in why


def test_error_in_japanese():
    set_language("ja")
    try:
        with pytest.raises(DescriptionError, match="データ拡張の指定を読み取れません"):
            Augment.parse("flap")
    finally:
        set_language(None)


@pytest.mark.parametrize("options", [{"shift": -1}, {"crop": 0.5}, {"rotate": math.nan},
                                     {"scale": 1.0}, {"cutout": math.inf}])
def test_wrong_strengths(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Augment(**options)


@pytest.mark.parametrize("text", ["shift8", "crop8", "cutout8"])
def test_too_large_for_the_pictures(text):
    with pytest.raises(DataError, match=f"{text} is too large for pictures of 8x9 .* at most 7"):
        Augment.parse(text).apply(pictures(H=8, W=9), KEY, np.arange(6))


def test_data_without_pictures():
    with pytest.raises(DataError, match=r"\(N, C, H, W\).*\(4, 7\)"):
        Augment(flip=True).apply(np.ones((4, 7), "f"), KEY, np.arange(4))
    with pytest.raises(DTypeError, match="uint8"):
        Augment(flip=True).apply(np.ones((4, 1, 7, 7), np.uint8), KEY, np.arange(4))


# Determinism

@given(st.permutations(range(6)), st.integers(1, 6), st.integers(0, 10**6))
def test_a_sample_does_not_depend_on_its_batch(permutation, size, first):
    x, rows, augment = pictures(), np.arange(6) + first, Augment.parse(EVERYTHING)
    together = augment.apply(x, KEY, rows)
    order = np.array(permutation)
    for start in range(0, 6, size):
        part = order[start:start + size]
        np.testing.assert_array_equal(augment.apply(x[part], KEY, rows[part]), together[part])


def test_epochs_seeds_and_samples_differ():
    augment = Augment.parse(EVERYTHING)
    x = np.repeat(pictures(1), 5, axis=0)
    one = augment.apply(x, ops.make_key(0, 1), np.arange(5))
    np.testing.assert_array_equal(one, augment.apply(x, ops.make_key(0, 1), np.arange(5)))
    others = [augment.apply(x, ops.make_key(0, 2), np.arange(5)),
              augment.apply(x, ops.make_key(1, 1), np.arange(5)), one[::-1]]
    for other in others:
        assert np.abs(one - other).reshape(5, -1).max(axis=1)[[0, 1, 3, 4]].min() > 0.1


def test_a_word_leaves_the_draws_of_others_alone():
    x = ramp(40)
    alone = Augment(shift=2).apply(x, KEY, np.arange(40))
    with_flip = Augment(shift=2, flip=True).apply(x, KEY, np.arange(40))
    kept = (alone == with_flip).all(axis=(1, 2, 3))
    assert 8 < kept.sum() < 32
    np.testing.assert_array_equal(Augment(flip=True).apply(x, KEY, np.arange(40))[kept], x[kept])


@pytest.mark.parametrize("C", [1, 3])
@pytest.mark.parametrize("text", [*EVERYTHING.split(), EVERYTHING, "flip cutout3"])
def test_traced_and_tensor_equal_eager(text, C):
    augment, x, rows = Augment.parse(text), pictures(C=C), np.arange(6)
    eager = augment.apply(x, KEY, rows)
    assert (eager.shape, eager.dtype) == (x.shape, x.dtype)
    traced = trace(augment.apply, x, KEY, rows)
    for key in (KEY, ops.make_key(5, 6)):
        np.testing.assert_array_equal(traced(x, key, rows), augment.apply(x, key, rows))
    tensor = augment.apply(Tensor(x), Tensor(KEY), Tensor(rows))
    np.testing.assert_array_equal(tensor.data, eager)
    assert augment.apply(x.astype(np.float64), KEY, rows).dtype == np.float64
    assert augment.apply(x[:0], KEY, rows[:0]).shape == (0, *x.shape[1:])


def test_nothing_changes_nothing():
    x = pictures()
    assert Augment().apply(x, KEY, np.arange(6)) is x


# What each word does

@pytest.mark.parametrize("W", [8, 9])
def test_flip_is_exact_and_fair(W):
    x = pictures(400, 2, 3, W)
    y = Augment(flip=True).apply(x, KEY, np.arange(400))
    same, mirrored = (y == x).all(axis=(1, 2, 3)), (y == x[..., ::-1]).all(axis=(1, 2, 3))
    assert (same ^ mirrored).all()
    assert 150 < same.sum() < 250


@pytest.mark.parametrize("word, fill", [("shift2", "edge"), ("crop2", "constant")])
def test_shift_and_crop_move_whole_pixels(word, fill):
    x = ramp(600)
    y = Augment.parse(word).apply(x, KEY, np.arange(600))
    wide = np.pad(x[0, 0], 2, fill)
    windows = {(i, j): wide[i:i + 9, j:j + 9] for i in range(5) for j in range(5)}
    found = [next(at for at, w in windows.items() if (w == p[0]).all()) for p in y]
    counts = np.array([found.count(at) for at in windows])  # 24 of each expected
    assert ((counts - 24) ** 2 / 24).sum() < 52  # chi-square, 24 degrees of freedom: p = 0.001


def test_rotate_and_scale_stay_within_their_limits():
    # A linear picture stays linear away from the edge; its slope shows the angle and the zoom.
    x = np.broadcast_to(np.arange(21.0), (300, 1, 21, 21)).astype(np.float32)
    for augment, angles, zooms in [(Augment(rotate=15), 15, 0), (Augment(scale=0.2), 0, 0.2)]:
        y = augment.apply(x, KEY, np.arange(300))[:, 0, 8:13, 8:13]
        right = (y[:, 2, 4] - y[:, 2, 0]) / 4
        down = (y[:, 4, 2] - y[:, 0, 2]) / 4
        angle, zoom = np.degrees(np.arctan2(down, right)), 1 / np.hypot(down, right)
        assert np.abs(angle).max() <= angles + 1e-3
        assert np.abs(angle).max() >= 0.95 * angles
        assert np.abs(zoom - 1).max() <= zooms + 1e-4
        assert np.abs(zoom - 1).max() >= 0.95 * zooms
        np.testing.assert_allclose(y[:, 2, 2], 10, atol=1e-4)  # the centre stays


def test_colour():
    x = pictures(500, 3, 6, 6)
    y = Augment(colour=0.3).apply(x, KEY, np.arange(500))
    brightness = (y - x).mean(axis=(1, 2, 3))
    assert 0.28 < np.abs(brightness).max() <= 0.3 + 1e-5
    assert np.abs(brightness.mean()) < 0.05

    def centred_grey(v):
        grey = v.mean(axis=1)
        return grey - grey.mean(axis=(1, 2), keepdims=True)

    contrast = (centred_grey(y) * centred_grey(x)).sum(axis=(1, 2)) / (
        centred_grey(x) ** 2).sum(axis=(1, 2))
    assert 0.28 < np.abs(contrast - 1).max() <= 0.3 + 1e-4
    np.testing.assert_allclose(centred_grey(y), contrast[:, None, None] * centred_grey(x),
                               atol=1e-5)
    off = (y - y.mean(axis=1, keepdims=True)) / contrast[:, None, None, None]
    saturation = (off / (x - x.mean(axis=1, keepdims=True)))[:, 0, 0, 0]
    assert 0.27 < np.abs(saturation - 1).max() <= 0.3 + 1e-2


@pytest.mark.parametrize("n", [1, 4, 5])
def test_cutout_is_one_square_of_zeros(n):
    y = Augment(cutout=n).apply(np.ones((500, 2, 6, 9), "f"), KEY, np.arange(500))
    assert set(np.unique(y)) == {0.0, 1.0}
    np.testing.assert_array_equal(y[:, 0], y[:, 1])
    np.testing.assert_array_equal((y[:, 0] == 0).any(axis=2).sum(axis=1), n)
    np.testing.assert_array_equal((y[:, 0] == 0).any(axis=1).sum(axis=1), n)
    assert (y == 0).any(axis=0).all()  # every pixel is hit at some time


def test_alternating_flips_show_both_forms_in_any_two_epochs():
    x, rows = ramp(400), np.arange(400)
    augment = Augment(altflip=True)
    epochs = [augment.apply(x, ops.make_key(3, epoch), rows) for epoch in range(4)]
    mirrored = [(e[..., 0] == x[..., -1]).all(axis=(1, 2)) for e in epochs]
    np.testing.assert_array_equal(epochs[0][mirrored[0]], x[mirrored[0]][..., ::-1])
    np.testing.assert_array_equal(epochs[0][~mirrored[0]], x[~mirrored[0]])
    assert 150 < mirrored[0].sum() < 250
    for before, after in itertools.pairwise(mirrored):
        np.testing.assert_array_equal(after, ~before)
    other = augment.apply(x, ops.make_key(4, 0), rows)
    assert 150 < (other == epochs[0]).all(axis=(1, 2, 3)).sum() < 250
