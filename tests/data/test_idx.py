"""IDX files: round trips, both forms, and each way of being wrong, named."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kiso.data import load
from kiso.data.sources.idx import FASHION_CLASSES, parse_idx, read_idx
from kiso.errors import DataError


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def arrays(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 28, 28), np.uint8), np.arange(n) % 10


@pytest.fixture
def folder(tmp_path):
    for part, n in (("train", 200), ("t10k", 50)):
        x, y = arrays(n, n)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(x))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(y)))
    return tmp_path


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, max_side=6)))
def test_round_trip(array):
    assert (parse_idx(idx(array), "x") == array).all()


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(content):
    try:
        parse_idx(content, "x")
    except DataError as error:
        assert "x" in str(error)


def test_mnist_layout(folder):
    splits = load(folder)
    assert splits.counts() == {"train": 180, "val": 20, "test": 50}
    assert (splits.test.x[:, 0] == arrays(50, 50)[0]).all()
    assert splits.test.y.tolist() == (np.arange(50) % 10).tolist()
    assert splits.train.classes == tuple("0123456789")
    assert set(splits.val.y) == set(range(10))
    source = splits.train.source
    assert source["format"] == "idx"
    assert source["split"] == {"train": 0.9, "val": 0.1}
    assert source["counts"] == splits.counts()
    assert len(source["sha256_unpacked"]["train-images"]) == 64


def test_the_split_option_divides_the_training_part(folder):
    assert load(folder, split=(0.6, 0.2, 0.2)).counts() == {"train": 150, "val": 50, "test": 50}


def test_by_name_in_every_place(folder, tmp_path, monkeypatch):
    home = tmp_path / "cache" / "data" / "fashion_mnist"
    home.mkdir(parents=True)
    for path in folder.glob("*ubyte*"):
        (home / path.name.replace("-idx", ".idx")).write_bytes(path.read_bytes())
    monkeypatch.delenv("KISO_DATA", raising=False)
    monkeypatch.setenv("KISO_CACHE", str(tmp_path / "cache"))
    assert load("Fashion-MNIST").train.classes == FASHION_CLASSES
    assert len(load("mnist", data_dir=folder).test) == 50
    monkeypatch.setenv("KISO_DATA", str(folder))
    assert load("mnist").train.source["path"] == str(folder)


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("train-images-idx3-ubyte", b"", "no IDX file"),
    ("train-images-idx3-ubyte", b"\0\0\x0d\x01" + bytes(8), "type 0x0d"),
    ("train-images-idx3-ubyte", idx(np.zeros((2, 28, 28)))[:-1], "1583 bytes"),
    ("train-images-idx3-ubyte", idx(np.zeros((7, 28, 28))), "7 images"),
    ("train-images-idx3-ubyte", idx(np.zeros(9)), "1 dimensions"),
    ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.zeros(50)))[:-9], "damaged"),
    ("t10k-labels-idx1-ubyte.gz", b"\x1f\x8bnonsense", "damaged"),
])
def test_broken_files_are_named(folder, name, content, reason):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        load(folder)
    assert name in str(caught.value)


def test_missing_files_are_named(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="t10k-labels"):
        load(folder)


def test_labels_beyond_the_classes(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(idx(np.full(200, 12)))
    assert len(load(folder).train.classes) == 13
    with pytest.raises(DataError, match="labels from 12 to 12"):
        load("fashion_mnist", data_dir=folder)


def test_raw_and_packed_are_told_by_content(tmp_path):
    x, _ = arrays(3)
    for name, content in (("a.gz", idx(x)), ("b", gzip.compress(idx(x)))):
        (tmp_path / name).write_bytes(content)
        assert (read_idx(tmp_path / name) == x).all()
