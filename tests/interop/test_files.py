"""Files with weights: what is read, and wrong ones, none of which may run anything."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from kiso import nn
from kiso.errors import CheckpointError
from kiso.interop import load_weights, read_weights

WEIGHTS = {"0.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
           "0.bias": np.array([1, 2], np.float32)}


class Command:
    """What a hostile pickle holds: it runs a command when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch {self.path}",)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2))


def zipped(path: Path, content: bytes, **entries: bytes) -> Path:
    """An archive as PyTorch's."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
        for name, data in entries.items():
            archive.writestr(f"x/data/{name}", data)
    return path


def test_safetensors(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "w.safetensors")
    model = net()
    found = load_weights(model, tmp_path / "w.safetensors")
    assert set(found.loaded) == set(WEIGHTS) and not found.unexpected
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, WEIGHTS[name])


def test_brain_floats(tmp_path: Path) -> None:
    value = np.array([[1.0, -2.5, 3.140625]], np.float32)
    data = (value.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    header = json.dumps({"a": {"dtype": "BF16", "shape": [1, 3], "data_offsets": [0, 6]}}).encode()
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header + data)
    np.testing.assert_array_equal(read_weights(tmp_path / "w").arrays["a"], value)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["f4", ">f8", "f2", "i8"])
def test_pickled_arrays(tmp_path: Path, protocol: int, kind: str) -> None:
    inner = np.arange(6).reshape(2, 3).astype(kind)
    value = {"a": [np.asfortranarray(inner), {"b": inner[0]}], "c": inner[:, 0]}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(value, protocol))
    found = read_weights(tmp_path / "w.pkl").arrays
    assert list(found) == ["a.0", "a.1.b", "c"]
    np.testing.assert_array_equal(found["a.0"], inner)
    np.testing.assert_array_equal(found["a.1.b"], inner[0])


def refused(path: Path, match: str) -> None:
    """The file is refused, and the model is as before."""
    model = net()
    before = model.state_dict()
    with pytest.raises(CheckpointError, match=match):
        load_weights(model, path)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "whole")
    whole = (tmp_path / "whole").read_bytes()
    contents = {"is empty": b"", "packed \\(gzip\\)": gzip.compress(whole), "HDF5": b"\x89HDF\r\n",
                "no format that is known": b"GIF89a" + bytes(20), "damaged": whole[:-3]}
    for match, content in contents.items():
        (tmp_path / "bad").write_bytes(content)
        refused(tmp_path / "bad", match)
    for size in range(1, len(whole), 7):
        (tmp_path / "bad").write_bytes(whole[:size])
        refused(tmp_path / "bad", "damaged|no format")
    refused(tmp_path, "folder without a checkpoint")
    refused(tmp_path / "missing", "no such file")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_hostile_pickles_are_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "owned"
    content = pickle.dumps({"W1": Command(mark)}, protocol)
    (tmp_path / "w.pkl").write_bytes(content)
    zipped(tmp_path / "w.pth", content)
    legacy = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    (tmp_path / "old.pth").write_bytes(legacy + pickle.dumps({"little_endian": True}, 2) + content)
    for name in ("w.pkl", "w.pth", "old.pth"):
        refused(tmp_path / name, "system.*nothing in it was run")
    (tmp_path / "old.pth").write_bytes(legacy + content)
    refused(tmp_path / "old.pth", "system.*nothing in it was run")
    assert not mark.exists()


TRICKS = [
    b"c__builtin__\neval\n(S'1'\ntR.", b"cbuiltins\ngetattr\n.", b"cnumpy\nload\n(S'x'\ntR.",
    b"ckiso.interop\nload_weights\n.", b"ctorch\nload\n.", b"cpickle\nloads\n.", b"(" * 999,
    # Attributes of what stands for a function or a class of ours:
    b"cnumpy.core.multiarray\n_reconstruct\n}S'run'\nN\x73b.",
    b"ccollections\nOrderedDict\nN}S'run'\nS'x'\ns\x86b.",
    b"cnumpy\nndarray\n}S'shape'\nN\x73b.",
]


@pytest.mark.parametrize("opcodes", TRICKS)
def test_other_opcodes_are_refused(tmp_path: Path, opcodes: bytes) -> None:
    (tmp_path / "w.pkl").write_bytes(opcodes)
    refused(tmp_path / "w.pkl", "nothing in it was run")
    refused(zipped(tmp_path / "w.pt", opcodes), "nothing in it was run|no state dict")
    (tmp_path / "good.pkl").write_bytes(pickle.dumps({"a": np.ones(3)}))
    assert read_weights(tmp_path / "good.pkl").arrays["a"].tolist() == [1, 1, 1]


def test_lists_within_lists_without_end(tmp_path: Path) -> None:
    value: list[Any] = []
    for _ in range(14):
        value = [value] * 14
    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps(value))
    refused(tmp_path / "bomb.pkl", "nested too deeply")
    (tmp_path / "self.pkl").write_bytes(b"]q\0h\0a.")
    refused(tmp_path / "self.pkl", "nested too deeply")
    refused(zipped(tmp_path / "self.pt", b"]q\0h\0a."), "no state dict")


@pytest.mark.parametrize("value", [{}, [1, 2], {"a": "text"}, {"a": np.array([None])}, {1.5: 2},
                                   {"a": np.zeros(2, complex)}, {"a": np.zeros(2, "U3")}])
def test_pickles_of_other_things_are_refused(tmp_path: Path, value: Any) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(value))
    refused(tmp_path / "w.pkl", "nothing in it was run|holds no arrays")


def tensor(count: int = 6, offset: int = 0, shape: tuple[int, ...] = (2, 3),
           strides: tuple[int, ...] = (3, 1)) -> bytes:
    """A pickle of {"0.weight": tensor} with a storage "0" of floats, as PyTorch writes it."""
    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", v) for v in values) + b"t"

    return (b"\x80\x02}(X\x08\0\0\x000.weightctorch._utils\n_rebuild_tensor_v2\n"
            b"((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ"
            + struct.pack("<i", count) + b"tQJ" + struct.pack("<i", offset) + numbers(shape)
            + numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtRu.")


def test_tensors_stay_within_their_storage(tmp_path: Path) -> None:
    data = WEIGHTS["0.weight"].tobytes()
    good = read_weights(zipped(tmp_path / "w.pt", tensor(), **{"0": data}))
    np.testing.assert_array_equal(good.arrays["0.weight"], WEIGHTS["0.weight"])
    turned = read_weights(zipped(tmp_path / "w.pt", tensor(shape=(3, 2), strides=(1, 3)),
                                 **{"0": data}))
    np.testing.assert_array_equal(turned.arrays["0.weight"], WEIGHTS["0.weight"].T)
    for content in (tensor(count=5), tensor(count=7), tensor(offset=1), tensor(offset=-1),
                    tensor(strides=(4, 1)), tensor(strides=(-3, 1)), tensor(shape=(2, -3)),
                    tensor(shape=(2**20, 2**20), strides=(0, 0)), tensor(strides=(3,)),
                    tensor(count=-1)):
        refused(zipped(tmp_path / "w.pt", content, **{"0": data}), "nothing in it was run")
    refused(zipped(tmp_path / "w.pt", tensor()), "nothing in it was run")  # no storage at all
    whole = zipped(tmp_path / "w.pt", tensor(), **{"0": data}).read_bytes()
    for size in range(1, len(whole), 23):
        (tmp_path / "cut.pt").write_bytes(whole[:size])
        refused(tmp_path / "cut.pt", "nothing in it was run|no format")


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", tensor())
        archive.writestr("x/data/0", bytes(24))
    refused(tmp_path / "w.pt", "compressed")
    np.savez(tmp_path / "w.npz", a=np.ones(2))
    refused(tmp_path / "w.npz", r"no data\.pkl")
