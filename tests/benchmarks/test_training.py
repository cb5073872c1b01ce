"""benchmarks.training: options, the check before the race, the JSON file."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import training
from benchmarks.functional import Unknown
from benchmarks.memory import peak_bytes
from benchmarks.nets import NETS, Net, samples
from benchmarks.ours import Kiso
from benchmarks.race import WrongResult, compare, race
from kiso import models, nn

TINY = Net("conv4k3s2p1nobias bn relu pool2 res(conv4k3p1 relu | conv4k1p0) avgpool2 gap "
           "linear6 sigmoid dropout0.5 linear3", (2, 17, 16), 5, 3)


class Fixed:
    """A contender with these numbers."""

    def __init__(self, loss: float, weight: float, velocity: float = 1.0):
        self.loss = loss
        self.named = ({"w": np.full(3, weight)}, {}, {"w": np.full(3, velocity)})
        self.count = 0

    def step(self) -> float:
        self.count += 1
        return self.loss

    def weights(self) -> Any:
        return self.named


def test_options() -> None:
    options = training.parser().parse_args(
        ["--nets", "mlp, lenet5", "--peers", "torch", "--json", "a.json", "--rounds", "9",
         "--threads", "1", "--no-compile", "--no-memory"])
    assert options.nets == ("mlp", "lenet5") and options.peers == ("torch",)
    assert (options.json, options.rounds, options.threads) == (Path("a.json"), 9, 1)
    assert not options.compile and not options.memory
    usual = training.parser().parse_args([])
    assert usual.nets == tuple(NETS) and usual.compile and usual.memory
    assert usual.rounds == 7


@pytest.mark.parametrize(("arguments", "told"), [
    (["--nets", "mlp,vgg"], "vgg"), (["--nets", ","], "known are"), (["--peers", "caffe"], "torch"),
    (["--rounds", "0"], "at least 1"), (["--threads", "x"], "at least 1")])
def test_wrong_options_are_told(arguments: list[str], told: str,
                                capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        training.parser().parse_args(arguments)
    assert told in capsys.readouterr().err


def test_nets_take_their_samples() -> None:
    layers = {name: net.build() for name, net in NETS.items() if net.shape[-1] < 100}
    for name, model in layers.items():
        x, y = samples(NETS[name])
        assert model.eval()(x[:2]).shape == (2, NETS[name].classes)
        assert len(x) == len(y) == NETS[name].batch and x.dtype == np.float32
    # The published sizes: 0.27 million parameters; 61,706 of LeNet-5 with 28x28 maps.
    assert 0.26e6 < layers["resnet20"].parameter_count() < 0.28e6
    assert layers["lenet5"].parameter_count() == 61_706
    convolutions = [m for m in layers["deepconv"].modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [16, 16, 32, 32, 64, 64]


ZOO = {  # the nets of kiso.models that are raced, thin and small
    "alexnet": Net("alexnet(width=0.0625, small=false)", (3, 67, 67), 4),
    "googlenet": Net("googlenet(width=0.125)", (3, 64, 64), 4),
    "mobilenet_v1": Net("mobilenet_v1(width=0.25)", (3, 32, 32), 4),
    "resnet50": Net("resnet50(width=0.0625)", (3, 64, 64), 4),
    "unet": Net("unet(width=0.0625)", (3, 32, 32), 4, 3, pixels=True),
}


def test_every_net_of_the_zoo_is_tried_here() -> None:
    raced = {net.text for net in NETS.values() if models.registry.find(net.text)}
    assert raced == set(ZOO)


@pytest.mark.parametrize("name", ZOO)
def test_nets_of_the_zoo_are_checked_and_timed(name: str, monkeypatch: pytest.MonkeyPatch
                                               ) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("benchmarks.race.SECONDS", 0.001)
    told: list[str] = []
    row, seconds = training.measure(name, ZOO[name], rounds=1, threads=1, note=told.append)
    assert "Kiso and torch agree" in told[0]
    assert min(row["kiso_ms"], row["torch_default_ms"], row["gflops"], seconds) > 0


@pytest.mark.parametrize(("name", "attribute", "wrong"), [
    ("googlenet", "benchmarks.torch_zoo_more.AUXILIARY", 0.31),
    ("alexnet", "benchmarks.torch_zoo_more.response", lambda x: x / 2**0.75),
    ("unet", "benchmarks.peer_torch.WEIGHT_DECAY", 0.0)])
def test_another_net_is_not_timed(name: str, attribute: str, wrong: Any,
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    """Another weight of the heads' losses, no response normalisation, another update rule."""
    pytest.importorskip("torch")
    monkeypatch.setattr(attribute, wrong)
    with pytest.raises(WrongResult):
        training.check(name, ZOO[name], Kiso(ZOO[name], 1), ("torch",), 1, print)


def test_a_class_for_each_pixel() -> None:
    net = ZOO["unet"]
    x, y = samples(net)
    assert x.shape == (4, 3, 32, 32) and y.shape == (4, 32, 32) and set(y.flat) == {0, 1, 2}
    scores = net.build().train()(x).data.astype(np.float64)
    of_all = np.log(np.exp(scores).sum(1)) - np.take_along_axis(scores, y[:, None], 1)[:, 0]
    assert Kiso(net, 1).step() == pytest.approx(of_all.mean(), rel=1e-5)


def test_what_a_peer_cannot_build_is_told(monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    monkeypatch.setitem(training.NETS, "mlp", Net("vgg11(width=0.0625)", (3, 16, 16), 2))
    assert training.main(["--nets", "mlp", "--no-memory", "--no-compile"]) == 1
    assert "NOT MEASURED, a peer cannot build it: no PyTorch twin for vgg11" in \
        capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not tell")
def test_memory_of_a_net_of_the_zoo() -> None:
    pytest.importorskip("torch")
    assert peak_bytes("kiso", ZOO["unet"], 1) > 0 and peak_bytes("default", ZOO["unet"], 1) > 0


def test_compare_finds_what_differs() -> None:
    def never(_: int) -> Fixed:
        raise AssertionError("the judge was not needed")

    assert compare(Fixed(1, 2), Fixed(1, 2.0001), never) == pytest.approx(5e-5, rel=0.01)
    for ours in (Fixed(1.01, 2), Fixed(1, 2.01), Fixed(1, 2, 1.01), Fixed(1, np.nan)):
        with pytest.raises(WrongResult):
            compare(ours, Fixed(1, 2), lambda _: Fixed(1, 2))
    with pytest.raises(WrongResult, match="names differ"):
        other = Fixed(1, 2)
        other.named[0]["extra"] = np.ones(3)
        compare(Fixed(1, 2), other, never)


def test_what_noise_moves_is_excused_and_nothing_else() -> None:
    def judge(noise: int) -> Fixed:  # noise flips a choice in one direction only
        return Fixed(1, 2, 1.004 if noise == -1 else 1.0)

    assert compare(Fixed(1, 2, 1.004), Fixed(1, 2), judge) == pytest.approx(0.004)
    assert compare(Fixed(1, 2), Fixed(1, 2, 1.004), judge) == 0  # it was the peer
    for wrong in (Fixed(1, 2, 1.009), Fixed(1, 2.01, 1.004), Fixed(1.001, 2, 1.004)):
        with pytest.raises(WrongResult):
            compare(wrong, Fixed(1, 2), judge)
    with pytest.raises(WrongResult):  # the cap: rounding does not explain 3 %
        compare(Fixed(1, 2, 1.03), Fixed(1, 2), lambda noise: Fixed(1, 2, 1 + 0.03 * abs(noise)))
    # Unless the peer is off as far, and noise as well.
    assert compare(Fixed(1, 2, 1.03), Fixed(1, 2, 0.975),
                   lambda noise: Fixed(1, 2, 1 + 0.03 * abs(noise))) == pytest.approx(0.03)
    for peer, noise in ((1.019, 0.03), (0.975, 0.014)):
        with pytest.raises(WrongResult):
            compare(Fixed(1, 2, 1.03), Fixed(1, 2, peer),
                    lambda n, noise=noise: Fixed(1, 2, 1 + noise * bool(n)))


def test_a_relu_decided_by_rounding_is_excused_but_no_wrong_gradient() -> None:
    torch = pytest.importorskip("torch")
    from benchmarks.peer_torch import Torch

    net = Net("conv8k3p1 relu flatten linear3", (1, 8, 8), 64, 3)
    model = net.build()

    def side(shift: float, noise: int = 0, mode: str = "default") -> Any:
        """One input of the ReLU is `shift`, of about 1."""
        made = Torch(net, model, mode, 1, noise=noise)
        with torch.no_grad():
            bias = made.model[0].bias
            bias[0] += shift - zero[0, 0, 3, 4]
        return made

    judged = Torch(net, model, "float64", 1)
    zero = judged.model[0](judged.x).detach()

    def judge(noise: int) -> Any:
        return side(1e-7, noise, "default" if noise else "float64")

    assert 2e-4 < compare(side(-4e-7), side(4e-7), judge) < 0.02
    assert compare(side(4e-7), side(-4e-7), judge) < 1e-5
    wrong = side(-4e-7)
    step = wrong.step

    def slightly_wrong() -> float:
        loss = step()
        next(v for v in wrong.optimizer.state.values() if v["momentum_buffer"].ndim == 2)[
            "momentum_buffer"].mul_(1.0005)
        return float(loss)

    wrong.step = slightly_wrong
    with pytest.raises(WrongResult, match=r"gradient 3\.weight"):
        compare(wrong, side(4e-7), judge)


def test_everybody_runs_in_every_round() -> None:
    contenders = {"a": Fixed(1, 2), "b": Fixed(1, 2)}
    times = race(contenders, 3, seconds=0)
    assert set(times) == {"a", "b"} and min(times.values()) > 0
    # 2 to warm up, 1 to find the length of a turn; 3 rounds of 1 untimed and 1 timed.
    assert [c.count for c in contenders.values()] == [9, 9]

    class Native(Fixed):
        def steps(self, count: int) -> None:  # many in one call, where there is such a thing
            self.count += count

    native = Native(1, 2)
    race({"a": native, "b": Fixed(1, 2)}, 3, seconds=0)
    assert native.count == 9


def test_a_net_is_checked_and_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("benchmarks.race.SECONDS", 0.001)
    monkeypatch.setitem(training.NETS, "mlp", TINY)
    out = tmp_path / "training.json"
    assert training.main(["--nets", "mlp", "--json", str(out), "--rounds", "1",
                          "--no-compile"]) == 0
    printed = capsys.readouterr().out
    assert "agree to" in printed and "GFLOP/s" in printed
    (row,) = json.loads(out.read_text("utf-8"))
    assert tuple(row) == training.KEYS
    assert row["net"] == "mlp" and row["batch"] == 5
    assert min(row["kiso_ms"], row["torch_default_ms"], row["torch_channels_last_ms"]) > 0
    assert row["ratio"] == pytest.approx(
        min(row["torch_default_ms"], row["torch_channels_last_ms"]) / row["kiso_ms"])
    assert row["torch_compile_ms"] is None
    assert 0 < row["peak_share"] < 1 and row["gflops"] > 0
    if sys.platform == "linux":
        assert min(row["kiso_peak_bytes"], row["torch_peak_bytes"]) > 0


def test_a_wrong_program_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    monkeypatch.setitem(training.NETS, "mlp", TINY)
    monkeypatch.setattr("benchmarks.peer_torch.WEIGHT_DECAY", 0.1)  # another step than ours
    out = tmp_path / "training.json"
    assert training.main(["--nets", "mlp", "--json", str(out), "--rounds", "1", "--no-compile",
                          "--no-memory"]) == 1
    assert "NOT MEASURED" in capsys.readouterr().out
    assert json.loads(out.read_text("utf-8")) == []


def test_only_real_work_counts() -> None:
    # 784 x 100 without the gradient of the pictures, 100 x 10 with all three products.
    assert NETS["mlp"].step_operations() == 2 * 100 * (2 * 78_400 + 3 * 1_000)


def test_torch_compile_is_left_out_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")

    def slow(_: Any) -> Any:
        time.sleep(5)

    monkeypatch.setattr("benchmarks.race.SECONDS", 0.001)
    monkeypatch.setattr(torch, "compile", slow)
    told: list[str] = []
    row, _ = training.measure("tiny", TINY, rounds=1, threads=1, compile_seconds=1,
                              note=told.append)
    assert row["torch_compile_ms"] is None and row["torch_default_ms"] > 0
    assert any("not ready after 1 s" in line for line in told)
    assert row["kiso_peak_bytes"] is None  # memory was not asked for


@pytest.mark.parametrize("peer", ["jax", "tensorflow"])
def test_other_peers_agree(peer: str) -> None:
    pytest.importorskip(peer)
    net = Net(TINY.text.replace("sigmoid ", ""), (2, 16, 16), 5, 3)
    told: list[str] = []
    for tried in (net, ZOO["mobilenet_v1"]):
        training.check("tiny", tried, Kiso(tried, 1), (peer,), 1, told.append)
    assert len(told) == 2 and all(peer in line for line in told)
    with pytest.raises(Unknown, match="LocalResponseNorm"):
        training.check("lrn", ZOO["alexnet"], Kiso(ZOO["alexnet"], 1), (peer,), 1, print)


def test_a_peer_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SystemExit):
        training.main(["--peers", "jax"])
    assert "requirements-peers.txt" in capsys.readouterr().err
