"""State dicts that PyTorch itself wrote, with torchvision's names, into the nets here: the same
outputs within 1e-4; both formats of file, wrappers, half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiso import nn
from kiso.autograd import no_grad
from kiso.errors import CheckpointError
from kiso.interop import load_weights, read_weights

torch = pytest.importorskip("torch")

from tests.models.test_peers import NETS, created  # noqa: E402

FAMILIES = [text for text in NETS if text.startswith(("vgg", "resnet", "Dense", "densenet",
                                                      "alexnet", "googlenet", "mobilenet"))]


def drawn(text: str) -> Any:
    """PyTorch's net with statistics that are not 0 and 1."""
    torch.manual_seed(0)
    theirs = NETS[text][1]()
    for name, value in theirs.state_dict().items():
        if "running" in name:
            value.copy_(torch.rand_like(value) + 0.5)
    return theirs.eval()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("text", FAMILIES)
def test_a_file_gives_the_same_outputs(tmp_path: Path, text: str, legacy: bool) -> None:
    size, theirs = NETS[text][0], drawn(text)
    torch.save(theirs.state_dict(), tmp_path / "w.pth",
               _use_new_zipfile_serialization=not legacy)
    with nn.seeded(1):
        ours = created(text, size).eval()
    found = load_weights(ours, tmp_path / "w.pth")
    assert set(found.loaded) == {slot.name for slot in ours.slots()}
    x = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    with torch.no_grad(), no_grad():
        expected, y = theirs(torch.tensor(x)).numpy(), ours(x).data
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("legacy", [False, True])
def test_what_training_programs_write(tmp_path: Path, legacy: bool) -> None:
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    theirs[0].weight = torch.nn.Parameter(torch.rand(6, 4)[:3].T)  # a view of another layout
    rule = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    theirs(torch.rand(5, 3)).sum().backward()
    rule.step()
    state = {f"module.{name}": value for name, value in theirs.state_dict().items()}
    whole = {"epoch": 3, "state_dict": state, "optimizer": rule.state_dict(), "best": 0.5}
    torch.save(whole, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    ours = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    load_weights(ours, tmp_path / "w.pth")
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, theirs.state_dict()[name].numpy())


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64", "int64", "uint8", "int8"])
def test_types(tmp_path: Path, kind: str, legacy: bool) -> None:
    values = torch.arange(12).reshape(3, 4).to(getattr(torch, kind))
    state = {"a": values, "b": values[1:, ::2], "c": torch.nn.Parameter(torch.tensor(2.5)),
             "d": torch.zeros(0, 3)}
    torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    found = read_weights(tmp_path / "w.pt").arrays
    assert {name: value.shape for name, value in found.items()} == {
        "a": (3, 4), "b": (2, 2), "c": (), "d": (0, 3)}
    np.testing.assert_array_equal(found["a"], np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(found["b"], [[4, 6], [8, 10]])
    assert found["c"] == 2.5


@pytest.mark.parametrize("legacy", [False, True])
def test_whole_modules_and_other_things_are_refused(tmp_path: Path, legacy: bool) -> None:
    for value, match in ((torch.nn.Linear(2, 3), "torch.nn.modules.linear.Linear"),
                         (torch.ones(3), "no state dict"), ({"epoch": 3}, "no state dict")):
        torch.save(value, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError, match=match):
            read_weights(tmp_path / "w.pt")


def test_a_cut_file_of_the_old_format(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "w.pt",
               _use_new_zipfile_serialization=False)
    whole = (tmp_path / "w.pt").read_bytes()
    for size in range(1, len(whole), 31):
        (tmp_path / "cut.pt").write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            read_weights(tmp_path / "cut.pt")
