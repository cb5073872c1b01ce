"""NumPy archives: layouts of pictures, tables and targets, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from kiso.data import load
from kiso.errors import DataError

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3


def save(folder, **arrays):
    path = folder / "set.npz"
    np.savez(path, **arrays)
    return path


def merged(splits):
    """All samples in the order of their names."""
    parts = list(splits.parts().values())
    place = np.argsort([name for part in parts for name in part.names])
    return tuple(np.concatenate([getattr(p, k) for p in parts])[place] for k in ("x", "y"))


@pytest.mark.parametrize(("shape", "axes"), [
    ((60, 8, 9), None), ((60, 1, 8, 9), None), ((60, 3, 8, 9), None),
    ((60, 8, 9, 1), (0, 3, 1, 2)), ((60, 8, 9, 3), (0, 3, 1, 2))])
def test_pictures(tmp_path, shape, axes):
    x = RNG.integers(0, 256, shape, np.uint8)
    splits = load(save(tmp_path, x=x, y=LABELS))
    expected = x[:, None] if x.ndim == 3 else x.transpose(axes) if axes else x
    found, y = merged(splits)
    assert (found == expected).all()
    assert (y == LABELS).all()
    assert splits.counts() == {"train": 42, "val": 9, "test": 9}
    assert splits.train.kind == "image"
    assert splits.train.classes == ("0", "1", "2")


def test_floats_from_0_to_1_become_bytes(tmp_path):
    x = RNG.integers(0, 256, (60, 4, 4), np.uint8)
    for values in (x / 255, x.astype(np.float32), x.astype(np.int64)):
        assert (merged(load(save(tmp_path, X=values, Y=LABELS)))[0][:, 0] == x).all()


def test_size_and_grey(tmp_path):
    x = np.full((60, 3, 8, 8), 90, np.uint8)
    x += np.arange(60, dtype=np.uint8)[:, None, None, None]  # no duplicates
    splits = load(save(tmp_path, x=x, y=LABELS), size=(4, 6), grey=True)
    assert splits.train.input_shape == (1, 4, 6)
    assert splits.train.source["options"]["size"] == [4, 6]
    found, _ = merged(splits)
    assert (found == x[:, :1, :1, :1]).all()


def test_given_parts_and_text_labels(tmp_path):
    names = np.array(["b", "a", "c"])
    path = save(tmp_path, x_train=RNG.random((60, 5)), y_train=names[LABELS],
                x_test=RNG.random((6, 5)), y_test=names[:3].repeat(2))
    splits = load(path)
    assert splits.counts() == {"train": 54, "val": 6, "test": 6}
    assert splits.train.classes == ("a", "b", "c")
    assert splits.test.y.tolist() == [1, 1, 0, 0, 2, 2]
    assert splits.train.kind == "table"
    assert splits.train.columns == ("x0", "x1", "x2", "x3", "x4")


def test_one_hot(tmp_path):
    splits = load(save(tmp_path, x=RNG.random((60, 2)), y=np.eye(3)[LABELS]))
    assert splits.train.task == "classification"
    assert (merged(splits)[1] == LABELS).all()


def test_regression(tmp_path):
    x, y = RNG.random((60, 2)), RNG.normal(size=(60, 2))
    splits = load(save(tmp_path, x=x, y=y))
    assert splits.train.task == "regression"
    assert splits.train.outputs == 2
    assert (merged(splits)[1] == y.astype(np.float32)).all()
    for flat in (y[:, 0], y[:, :1]):
        assert load(save(tmp_path, x=x, y=flat)).train.y.shape == (42, 1)
    assert load(save(tmp_path, x=x, y=LABELS), task="regression").train.y.dtype == np.float32


def test_few_samples_of_a_table_keep_equal_rows_apart(tmp_path):
    """Equal rows of a table are no duplicates: they are dealt as any others."""
    splits = load(save(tmp_path, x=np.ones((60, 2)), y=LABELS))
    assert splits.counts() == {"train": 42, "val": 9, "test": 9}
    assert splits.duplicates == ()


GOOD = RNG.random((60, 2))


@pytest.mark.parametrize(("arrays", "reason"), [
    ({"a": GOOD}, "holds the arrays a; expected x and y"),
    ({"x": GOOD}, "expected x and y"),
    ({"x_test": GOOD, "y_test": LABELS}, "expected x and y"),
    ({"x": GOOD, "y": LABELS[:50]}, r"\(60, 2\) and y of shape \(50,\)"),
    ({"x": GOOD[:0], "y": LABELS[:0]}, "at least one"),
    ({"x": GOOD[:, 0], "y": LABELS}, "1 dimensions"),
    ({"x": GOOD * np.nan, "y": LABELS}, "NaN"),
    ({"x": GOOD.astype(str), "y": LABELS}, "expected numbers"),
    ({"x": GOOD, "y": LABELS * 0}, "only one class"),
    ({"x": np.zeros((60, 5, 5, 2)), "y": LABELS}, "1 or 3 channels"),
    ({"x": np.full((60, 5, 5), -1.0), "y": LABELS}, "pixel values from -1"),
    ({"x": np.full((60, 5, 5), np.nan), "y": LABELS}, "pixel values"),
    ({"x_train": GOOD, "y_train": LABELS, "x_test": GOOD[:, :1], "y_test": LABELS}, "different"),
])
def test_unusable_arrays(tmp_path, arrays, reason):
    with pytest.raises(DataError, match=reason):
        load(save(tmp_path, **arrays))


def test_text_cannot_be_regressed(tmp_path):
    with pytest.raises(DataError, match="is text"):
        load(save(tmp_path, x=GOOD, y=LABELS.astype(str)), task="regression")


def test_objects_are_not_unpickled(tmp_path):
    class Spy:
        read = False

        def __reduce__(self):
            return exec, ("raise SystemExit",)

    with pytest.raises(DataError, match="without running code"):
        load(save(tmp_path, x=GOOD, y=np.array([Spy()] * 60, object)))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nonsense", b"\x93NUMPY" + bytes(50)])
def test_damaged_files(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"set\.npz"):
        load(tmp_path / "set.npz")
