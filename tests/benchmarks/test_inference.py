"""benchmarks.inference: equal answers first, then the JSON file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import inference
from benchmarks.nets import Net
from benchmarks.race import WrongResult

TINY = Net("conv4k3s2p1nobias bn relu pool2 res(conv4k3p1 relu | conv4k1p0) avgpool2 gap "
           "linear6 sigmoid dropout0.5 linear3", (2, 17, 16), 5, 3)


@pytest.mark.parametrize(("peer", "module"), [("torch", "torch"), ("onnxruntime", "onnxruntime")])
def test_a_net_is_checked_and_timed(peer: str, module: str, tmp_path: Path,
                                    monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(module)
    monkeypatch.setattr("benchmarks.race.SECONDS", 0.001)
    monkeypatch.setitem(inference.NETS, "mlp", TINY)
    out = tmp_path / "inference.json"
    assert inference.main(["--nets", "mlp", "--peers", peer, "--json", str(out), "--rounds", "1",
                           "--batches", "1,3", "--no-compile"]) == 0
    assert "agree to" in capsys.readouterr().out
    rows = json.loads(out.read_text("utf-8"))
    assert [row["batch"] for row in rows] == [1, 3]
    for row in rows:
        assert tuple(row) == inference.KEYS
        times = [row[key] for key in inference.KEYS[3:-1] if row[key] is not None]
        assert row["ratio"] == pytest.approx(min(times) / row["kiso_ms"])
        assert len(times) == (2 if peer == "torch" else 1) and min(times) > 0


@pytest.mark.parametrize(("peer", "module"), [("torch", "torch"), ("onnxruntime", "onnxruntime")])
def test_a_net_of_the_zoo_is_checked(peer: str, module: str,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(module)
    monkeypatch.setattr("benchmarks.race.SECONDS", 0.001)
    told: list[str] = []
    net = Net("mobilenet_v1(width=0.25)", (3, 32, 32), 2)
    inference.measure("mobilenet", net, (peer,), rounds=1, threads=1, compile_seconds=None,
                      note=told.append)
    assert "outputs agree" in told[0]


def test_what_onnx_cannot_hold_is_told(monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(inference.NETS, "mlp", Net("unet(width=0.0625)", (3, 16, 16), 1, 2))
    assert inference.main(["--nets", "mlp", "--peers", "onnxruntime", "--batches", "1"]) == 1
    assert "NOT MEASURED: UNet has no meaning" in capsys.readouterr().out


def test_other_answers_are_found() -> None:
    y = np.ones((2, 3), np.float32)
    assert inference.agree({"kiso": y, "torch": y + 1e-5}) == pytest.approx(1e-5, rel=0.1)
    for wrong in (y + 1e-3, y[:1], y * np.nan):
        with pytest.raises(WrongResult):
            inference.agree({"kiso": y, "torch": wrong})


def test_the_usual_nets() -> None:
    options = inference.parser().parse_args([])
    assert {"mlp", "lenet5", "resnet20", "vgg16_32", "resnet18_224", "vgg16_224",
            "simpleconv", "mobilenet_v1_224"} == set(options.nets)
