"""PyTorch's side of the race: the same layers, weights, data and update rule.

PyTorch is imported inside the functions: it is a peer, not a dependency.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.functional import Unknown
from benchmarks.nets import Net, samples
from benchmarks.ours import LR, MOMENTUM, WEIGHT_DECAY
from kiso import models, nn, ops

__all__ = ["MODES", "Torch", "TorchAnswers", "twin"]

MODES = ("default", "channels_last", "compile")
NOISE = 2e-6  # of the root mean square of a layer's output: a little more than float32 rounds
ROUNDING = ("Conv2d", "ConvTranspose2d", "Linear", "BatchNorm2d", "AvgPool2d", "Residual",
            "Sigmoid")


def twin(layer: nn.Module, drop: Any) -> Any:
    """The PyTorch layer for a Kiso layer, nested alike, so that state dicts carry over.

    `drop(p)` makes the dropout layers. Errors: Unknown for a layer without a twin.
    """
    from torch import nn as tnn

    from benchmarks.zoo_twins import zoo_twin

    match layer:
        case models.Net():
            return zoo_twin(layer, drop)
        case nn.Sequential():
            return tnn.Sequential(*(twin(inner, drop) for inner in layer))
        case nn.Residual():
            way = tnn.Identity() if layer.shortcut is None else twin(layer.shortcut, drop)
            return _residual(twin(layer.body, drop), way)
        case nn.Conv2d():
            return tnn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size,
                              layer.stride, layer.padding, layer.dilation, layer.groups,
                              layer.bias is not None)
        case nn.Linear():
            outs, ins = layer.weight.shape
            return tnn.Linear(ins, outs, layer.bias is not None)
        case nn.BatchNorm2d():
            return tnn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
        case nn.MaxPool2d():
            return tnn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding,
                                 ceil_mode=layer.ceil_mode)
        case nn.AvgPool2d():
            return tnn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding,
                                 layer.ceil_mode, layer.count_include_pad)
        case nn.GlobalAvgPool():
            return tnn.Sequential(tnn.AdaptiveAvgPool2d(1), tnn.Flatten())
        case nn.Dropout():
            return drop(layer.p)
        case nn.Flatten():
            return tnn.Flatten()
        case nn.ReLU():
            return tnn.ReLU(inplace=True)
        case nn.Sigmoid():
            return tnn.Sigmoid()
    raise Unknown(f"no PyTorch twin for {type(layer).__name__}; add one to twin()")


def copy(model: nn.Module, drop: Any) -> Any:
    """The twin of a model with a copy of its weights: training reaches neither from the other."""
    import torch

    made = twin(model, drop)
    weights = {n: torch.tensor(v) for n, v in model.state_dict().items()}
    left = made.load_state_dict(weights, strict=False)
    if left.unexpected_keys or any("num_batches" not in n for n in left.missing_keys):
        raise RuntimeError(f"weights do not carry over to PyTorch: {left}")
    return made


def _residual(body: Any, shortcut: Any) -> Any:
    from torch import nn as tnn

    class Residual(tnn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x: Any) -> Any:
            return self.body(x) + self.shortcut(x)

    return Residual()


def _masked(key: Any) -> Any:
    """Dropout layers with the masks that Kiso draws from this key."""
    import torch

    streams = iter(range(1000))

    class Masked(torch.nn.Module):
        def __init__(self, p: float):
            super().__init__()
            self.p, self.stream = p, next(streams)

        def forward(self, x: Any) -> Any:
            ones = np.ones(tuple(x.shape), np.float32)
            return x * torch.from_numpy(ops.dropout(ones, key, p=self.p, stream=self.stream))

    return Masked


def _disturb(model: Any, number: int) -> None:
    """Normal noise on the output of each layer that rounds; -number gives the opposite noise."""
    import torch

    draws = torch.Generator().manual_seed(abs(number))

    def hook(layer: Any, _: Any, y: Any) -> Any:
        size = NOISE * (1 if number > 0 else -1) * y.detach().square().mean().sqrt()
        return y + size * torch.randn(y.shape, generator=draws, dtype=y.dtype)

    for layer in model.modules():
        if type(layer).__name__ in ROUNDING:
            layer.register_forward_hook(hook)


class Torch:
    """A model in training, as `ours.Kiso`; `key` gives it Kiso's dropout masks.

    With `noise` its layers' outputs are a little wrong, see race.compare.
    """

    def __init__(self, net: Net, model: nn.Module, mode: str, threads: int, key: Any = None,
                 noise: int = 0):
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.model = copy(model, torch.nn.Dropout if key is None else _masked(key))
        x, y = map(torch.from_numpy, samples(net))
        if noise:
            _disturb(self.model, noise)
        if mode == "channels_last":
            self.model = self.model.to(memory_format=torch.channels_last)
            x = x.to(memory_format=torch.channels_last) if x.ndim == 4 else x
        if mode == "float64":  # no contender: the judge where two float32 programs disagree
            self.model, x = self.model.double(), x.double()
        self.x, self.y = x, y
        self.run = torch.compile(self.model) if mode == "compile" else self.model
        self.loss = torch.nn.functional.cross_entropy
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM,
                                         weight_decay=WEIGHT_DECAY)

    def step(self) -> float:
        """One step; the mean loss before the update."""
        from benchmarks.torch_zoo_more import AUXILIARY

        self.optimizer.zero_grad()
        found = self.run(self.x)
        main, *others = found if isinstance(found, tuple) else (found,)
        loss = self.loss(main, self.y)
        total = loss
        for other in others:  # of the auxiliary heads; the loss that is told is the main one
            total = total + AUXILIARY * self.loss(other, self.y)
        total.backward()
        self.optimizer.step()
        return float(loss.detach())

    def weights(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Parameters, buffers and velocities by name."""
        params = dict(self.model.named_parameters())
        buffers = {n: b.numpy() for n, b in self.model.named_buffers() if "num_batches" not in n}
        velocity = {n: self.optimizer.state[p]["momentum_buffer"].numpy()
                    for n, p in params.items()}
        return {n: p.detach().numpy() for n, p in params.items()}, buffers, velocity


class TorchAnswers:
    """A model in inference mode; `step()` is one forward pass of the batch."""

    def __init__(self, model: nn.Module, x: np.ndarray, mode: str, threads: int):
        import torch

        torch.set_num_threads(threads)
        self.model, self.x = copy(model, torch.nn.Dropout).eval(), torch.from_numpy(x)
        if mode == "channels_last":
            self.model = self.model.to(memory_format=torch.channels_last)
            if x.ndim == 4:
                self.x = self.x.to(memory_format=torch.channels_last)
        self.run = torch.compile(self.model) if mode == "compile" else self.model
        self.mode = torch.inference_mode

    def step(self) -> np.ndarray:
        """The outputs for the batch."""
        with self.mode():
            return self.run(self.x).numpy()
