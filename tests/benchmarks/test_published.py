"""benchmarks.published: the net's size, its parts, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest

from kiso import models
from tests.data.pictures import png

torch = pytest.importorskip("torch", exc_type=ImportError)

from benchmarks import published  # noqa: E402


def coloured(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, a little lighter in one channel: that of the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = rng.integers(0, 150, (n, 3, 32, 32))
    x[np.arange(n), y] += 60
    return x.astype(np.uint8), y


def test_as_many_parameters_as_the_net_that_is_after_it():
    net = published.Net(torch.randn(50, 3, 32, 32), 10)
    learnt = sum(p.numel() for p in net.parameters() if p.requires_grad)
    ours = [p for p in models.build("fastnet").parameters() if p.requires_grad]
    assert learnt == sum(int(p.size) for p in ours) + 24  # here the whitening has a bias


def test_patches_become_white():
    x = torch.randn(400, 3, 32, 32) * torch.tensor([3.0, 1.0, 0.5]).view(1, 3, 1, 1)
    y = published.Net(x, 10).whiten(x)[:, :12].detach().permute(1, 0, 2, 3).reshape(12, -1)
    torch.testing.assert_close(torch.cov(y), torch.eye(12), atol=0.02, rtol=0)


def test_moves_mirror_the_edges():
    torch.manual_seed(0)
    x = torch.arange(64.0).view(1, 1, 8, 8).repeat(200, 1, 1, 1)
    padded = np.pad(np.arange(64.0).reshape(8, 8), 2, mode="reflect")
    allowed = {padded[i:i + 8, j:j + 8].tobytes() for i in range(5) for j in range(5)}
    found = {np.ascontiguousarray(one[0].numpy().astype(float)).tobytes()
             for one in published.moved(x, 2)}
    assert found == allowed


def test_slow_weights_and_fast_ones_meet():
    net = torch.nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(1.0)
    slow = published.Averaged(net)
    net.weight.data.fill_(3.0)
    slow.meet(0.75)
    assert net.weight.item() == slow.slow["weight"].item() == 1.5
    net.weight.data.fill_(2.0)
    slow.meet(1.0)
    assert net.weight.item() == 1.5


@pytest.mark.parametrize("more", [[], ["--float32"]])
def test_it_learns(tmp_path, capsys, more):
    for part, n in (("train", 150), ("test", 30)):
        for i, (x, y) in enumerate(zip(*coloured(n, seed=n), strict=True)):
            folder = tmp_path / part / "abc"[y]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.png").write_bytes(png(x.transpose(1, 2, 0)))
    assert published.main(["--data", str(tmp_path), "--epochs", "12", "--threads", "1", *more]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and last.startswith("150 pictures, 12 epochs: ")
    assert float(last.split()[-2]) > 90
