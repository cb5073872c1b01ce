"""benchmarks.training: options, the check before the race, the JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import training
from benchmarks.nets import NETS, Net, samples
from benchmarks.race import WrongResult, compare, race
from kiso import nn

TINY = Net("conv4k3s2p1nobias bn relu pool2 res(conv4k3p1 relu | conv4k1p0) avgpool2 gap "
           "linear6 sigmoid dropout0.5 linear3", (2, 17, 16), 5, 3)


class Fixed:
    """A contender with these numbers."""

    def __init__(self, loss: float, weight: float, velocity: float = 1.0):
        self.loss = loss
        self.named = ({"w": np.full(3, weight)}, {}, {"w": np.full(3, velocity)})
        self.steps = 0

    def step(self) -> float:
        self.steps += 1
        return self.loss

    def weights(self) -> Any:
        return self.named


def test_options() -> None:
    options = training.parser().parse_args(
        ["--nets", "mlp, lenet5", "--peers", "torch", "--json", "a.json", "--rounds", "9",
         "--threads", "1", "--compile"])
    assert options.nets == ("mlp", "lenet5") and options.peers == ("torch",)
    assert (options.json, options.rounds, options.threads) == (Path("a.json"), 9, 1)
    assert options.compile
    assert training.parser().parse_args([]).nets == tuple(NETS)


@pytest.mark.parametrize(("arguments", "told"), [
    (["--nets", "mlp,vgg"], "vgg"), (["--nets", ","], "known are"), (["--peers", "caffe"], "torch"),
    (["--rounds", "0"], "at least 1"), (["--threads", "x"], "at least 1")])
def test_wrong_options_are_told(arguments: list[str], told: str,
                                capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training.parser().parse_args(arguments)
    assert told in capsys.readouterr().err


def test_nets_take_their_samples() -> None:
    layers = {name: net.build() for name, net in NETS.items() if net.shape[-1] < 224}
    for name, model in layers.items():
        x, y = samples(NETS[name])
        assert model.eval()(x[:2]).shape == (2, NETS[name].classes)
        assert len(x) == len(y) == NETS[name].batch and x.dtype == np.float32
    # The published sizes: 0.27 million parameters; 61,706 of LeNet-5 with 28x28 maps.
    assert 0.26e6 < layers["resnet20"].parameter_count() < 0.28e6
    assert layers["lenet5"].parameter_count() == 61_706
    convolutions = [m for m in layers["deepconv"].modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [16, 16, 32, 32, 64, 64]


def test_compare_finds_what_differs() -> None:
    def never() -> Fixed:
        raise AssertionError("the judge was not needed")

    assert compare(Fixed(1, 2), Fixed(1, 2.0001), never) == pytest.approx(5e-5, rel=0.01)
    for ours in (Fixed(1.01, 2), Fixed(1, 2.01), Fixed(1, 2, 1.01), Fixed(1, np.nan)):
        with pytest.raises(WrongResult):
            compare(ours, Fixed(1, 2), lambda: Fixed(1, 2))
    with pytest.raises(WrongResult, match="names differ"):
        other = Fixed(1, 2)
        other.named[0]["extra"] = np.ones(3)
        compare(Fixed(1, 2), other, never)


def test_the_judge_excuses_rounding_of_the_peer_but_no_error() -> None:
    assert compare(Fixed(1, 2), Fixed(1, 2.01), lambda: Fixed(1, 2)) == 0
    assert compare(Fixed(1, 2.01), Fixed(1, 1.99), lambda: Fixed(1, 2)) < 0.01
    with pytest.raises(WrongResult):
        compare(Fixed(1, 3), Fixed(1, 1), lambda: Fixed(1, 2))
    with pytest.raises(WrongResult, match="loss"):
        compare(Fixed(1.001, 2), Fixed(0.999, 2), lambda: Fixed(1, 2))


def test_everybody_runs_in_every_round() -> None:
    contenders = {"a": Fixed(1, 2), "b": Fixed(1, 2)}
    times = race(contenders, 3, seconds=0)
    assert set(times) == {"a", "b"} and min(times.values()) > 0
    # 2 to warm up, 1 to find the length of a turn; 3 rounds of 1 untimed and 1 timed.
    assert [c.steps for c in contenders.values()] == [9, 9]


def test_a_net_is_checked_and_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("benchmarks.race.SECONDS", 0.001)
    monkeypatch.setitem(training.NETS, "mlp", TINY)
    out = tmp_path / "training.json"
    assert training.main(["--nets", "mlp", "--json", str(out), "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "agree to" in printed and "GFLOP/s" in printed
    (row,) = json.loads(out.read_text("utf-8"))
    assert tuple(row) == training.KEYS
    assert row["net"] == "mlp" and row["batch"] == 5
    assert min(row["kiso_ms"], row["torch_default_ms"], row["torch_channels_last_ms"]) > 0
    assert row["ratio"] == pytest.approx(
        min(row["torch_default_ms"], row["torch_channels_last_ms"]) / row["kiso_ms"])
    assert row["torch_compile_ms"] is None and row["peak_share"] is None


def test_a_wrong_program_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    monkeypatch.setitem(training.NETS, "mlp", TINY)
    monkeypatch.setattr("benchmarks.peer_torch.WEIGHT_DECAY", 0.1)  # another step than ours
    out = tmp_path / "training.json"
    assert training.main(["--nets", "mlp", "--json", str(out), "--rounds", "1"]) == 1
    assert "NOT MEASURED" in capsys.readouterr().out
    assert json.loads(out.read_text("utf-8")) == []
