"""CIFAR-10: both batch formats, folders and archives, and pickles that must not be run."""

from __future__ import annotations

import pickle
import struct
import tarfile

import numpy as np
import pytest

from kiso.data import load
from kiso.data.sources.cifar import CLASSES
from kiso.data.sources.pickles import read_batch
from kiso.errors import DataError

PIXELS = 3072


def text(value: str) -> bytes:
    """A Python 2 str in a pickle of protocol 2: SHORT_BINSTRING."""
    return b"U" + bytes([len(value)]) + value.encode()


def python2_pickle(data: np.ndarray, labels: list[int], names: list[str]) -> bytes:
    """The opcodes that Python 2 and NumPy 1 wrote into the original files."""
    n, width = data.shape
    array = (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text("b")
             + b"\x87R(K\x01" + b"".join(b"J" + struct.pack("<i", k) for k in (n, width)) + b"\x86"
             + b"cnumpy\ndtype\n" + text("u1") + b"K\0K\x01\x87R(K\x03" + text("|")
             + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89T" + struct.pack("<i", data.size)
             + data.tobytes() + b"tb")
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    files = b"](" + b"".join(map(text, names)) + b"e"
    return (b"\x80\x02}(" + text("batch_label") + text("a batch") + text("labels") + numbers
            + text("data") + array + text("filenames") + files + b"u.")


def batch(seed: int, n: int = 20) -> tuple[np.ndarray, list[int], list[str]]:
    data = np.random.default_rng(seed).integers(0, 256, (n, PIXELS), np.uint8)
    return data, [i % 10 for i in range(n)], [f"{CLASSES[i % 10]}_{seed}_{i}.png" for i in range(n)]


NAMES = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]


def write_python(folder, dump=python2_pickle):
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        (folder / name).write_bytes(dump(*batch(seed)))
    meta = {b"label_names": [name.upper().encode() for name in CLASSES]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, 2))
    return folder


def write_binary(folder):
    folder.mkdir()
    for seed, name in enumerate(NAMES):
        data, labels, _ = batch(seed)
        rows = np.concatenate([np.array(labels, np.uint8)[:, None], data], 1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    return folder


def test_the_python_2_pickles_of_these_tests_are_right():
    """An outside view of `python2_pickle`: the real unpickler reads it as NumPy data."""
    data, labels, names = batch(0)
    found = pickle.loads(python2_pickle(data, labels, names), encoding="bytes")
    assert (found[b"data"] == data).all()
    assert found[b"labels"] == labels
    assert found[b"filenames"] == [name.encode() for name in names]


def dump(protocol):
    return lambda data, labels, names: pickle.dumps(
        {"data": data, "labels": labels, "filenames": names}, protocol)


@pytest.mark.parametrize("write", [python2_pickle, dump(2), dump(4), dump(5)])
def test_python_batches(write):
    data, labels, names = batch(1)
    found = read_batch(write(data, labels, names), "data_batch_1")
    assert (found["data"] == data).all()
    assert found["labels"] == labels
    assert found["filenames"] == names


def test_arrays_in_fortran_order():
    data = np.asfortranarray(batch(1)[0])
    for protocol in (2, 5):
        assert (read_batch(pickle.dumps({"data": data}, protocol), "x")["data"] == data).all()


@pytest.mark.parametrize("write", [write_python, write_binary])
def test_folders(tmp_path, write):
    splits = load(write(tmp_path / "cifar-10-batches-xx"))
    assert splits.counts() == {"train": 90, "val": 10, "test": 20}
    data, labels, names = batch(5)
    assert (splits.test.x == data.reshape(-1, 3, 32, 32)).all()
    assert splits.test.y.tolist() == labels
    if write is write_python:
        assert splits.test.names == tuple(names)
        assert splits.test.classes == tuple(name.upper() for name in CLASSES)
    else:
        assert splits.test.classes == CLASSES


@pytest.mark.parametrize(("write", "inner"), [(write_python, "cifar-10-batches-py"),
                                              (write_binary, "cifar-10-batches-bin")])
def test_the_original_archive_is_read_in_place(tmp_path, write, inner):
    folder = write(tmp_path / inner)
    home = tmp_path / "data" / "cifar10"
    home.mkdir(parents=True)
    with tarfile.open(home / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(folder, inner)
    before = set(tmp_path.rglob("*"))
    by_name = load("cifar10", data_dir=tmp_path / "data")
    assert set(tmp_path.rglob("*")) == before
    assert by_name.train.source["data_sha256"] == load(folder).train.source["data_sha256"]
    assert load(home).counts() == by_name.counts()
    assert load("CIFAR-10", data_dir=home).counts() == by_name.counts()
    assert load("cifar10", data_dir=tmp_path).counts() == by_name.counts()  # the inner folder


class Command:
    """What a hostile pickle holds: it runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_hostile_pickles_are_not_run(tmp_path, protocol):
    mark = tmp_path / "owned"
    folder = write_python(tmp_path / "d")
    content = pickle.dumps({"data": Command(mark)}, protocol)
    for name in ("data_batch_3", "batches.meta"):
        (folder / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} is no CIFAR batch .*system.*nothing in it"):
            load(folder)
        assert not mark.exists()
        write_python(tmp_path / f"again{name}")
        (folder / name).write_bytes((tmp_path / f"again{name}" / name).read_bytes())
    assert load(folder).counts()["test"] == 20


@pytest.mark.parametrize("opcodes", [
    b"c__builtin__\neval\n(S'1'\ntR.", b"cbuiltins\ngetattr\n.", b"cnumpy\nload\n(S'x'\ntR.",
    b"cnumpy.core.multiarray\nscalar\n.", b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
    b"ckiso.data.sources.pickles\nread_batch\n.", b"]q\0h\0a.", b"N.", b"", b"\x80\x02}",
    b"(" * 999])
def test_other_opcodes_are_refused(opcodes):
    with pytest.raises(DataError, match="x is no CIFAR batch"):
        read_batch(opcodes, "x")


@pytest.mark.parametrize("data", [np.zeros((2, 2)), np.zeros(3, object), np.zeros(3, "u2")])
def test_other_arrays_are_refused(data):
    for protocol in (2, 5):
        with pytest.raises(DataError, match="x is no CIFAR batch"):
            read_batch(pickle.dumps({"data": data}, protocol), "x")


@pytest.mark.parametrize(("value", "reason"), [
    ({"data": 1, "labels": [1]}, "lacks data"), ({"labels": [1]}, "lacks data"),
    ({"data": np.zeros((2, 10), np.uint8), "labels": [1, 2]}, "lacks data"),
    ({"data": np.zeros((2, PIXELS), np.uint8), "labels": "ab"}, "lacks data"),
    ({"data": np.zeros((2, PIXELS), np.uint8), "labels": [1, "b"]}, "no class numbers"),
    ({"data": np.zeros((2, PIXELS), np.uint8), "labels": [1]}, "2 pictures but 1 labels"),
    ({"data": np.zeros((2, PIXELS), np.uint8), "labels": [1, 17]}, "labels from 0 to 17")])
def test_incomplete_batches_are_named(tmp_path, value, reason):
    folder = write_python(tmp_path / "d")
    (folder / "data_batch_2").write_bytes(pickle.dumps(value, 2))
    with pytest.raises(DataError, match=reason):
        load(folder)


def test_missing_and_cut_files(tmp_path):
    folder = write_binary(tmp_path / "d")
    (folder / "data_batch_4.bin").write_bytes(bytes(5000))
    with pytest.raises(DataError, match=r"data_batch_4\.bin has 5000 bytes"):
        load(folder)
    (folder / "data_batch_4.bin").unlink()
    (folder / "test_batch.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_4\.bin, test_batch\.bin"):
        load(folder)
