"""Every family against PyTorch modules with the same weights: names, outputs, all gradients, the
statistics of norms. Eager in float64, where nothing but the structure can differ, and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import kiso
from kiso import models, nn
from kiso.autograd import Tensor, no_grad, value_and_grad
from kiso.models.densenet import DenseNet

torch = pytest.importorskip("torch")

from benchmarks import torch_zoo, torch_zoo_more  # noqa: E402

LARGE = 224  # pixels

PLAN_A: list[int | str] = [4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"]

# Text, pixels, the same in PyTorch; widths of 1/8 and the like, so that a step takes no time.
NETS: dict[str, tuple[int, Callable[[], Any]]] = {
    "vgg11(width=0.0625, small)": (16, lambda: torch_zoo.vgg(PLAN_A, 16, 32, 10)),
    "vgg11_bn(width=0.0625, small=false)": (
        64, lambda: torch_zoo.vgg(PLAN_A, 64, 256, 10, norm=True)),
    "resnet18(width=0.125, small=false)": (
        64, lambda: torch_zoo.resnet((2, 2, 2, 2), 8, 10, large=True)),
    "resnet18(width=0.125, small, shortcut=A)": (
        16, lambda: torch_zoo.resnet((2, 2, 2, 2), 8, 10, shortcut="A")),
    "plain18(width=0.125, small)": (
        16, lambda: torch_zoo.resnet((2, 2, 2, 2), 8, 10, shortcut="none")),
    "resnet50(width=0.0625, small)": (
        16, lambda: torch_zoo.resnet((3, 4, 6, 3), 4, 10, bottleneck=True)),
    "resnet50(width=0.0625, small, version=1.5)": (
        16, lambda: torch_zoo.resnet((3, 4, 6, 3), 4, 10, bottleneck=True, early=False)),
    "resnet20(width=0.5)": (16, lambda: torch_zoo.resnet((3, 3, 3), 8, 10, shortcut="A")),
    "plain20(width=0.5)": (16, lambda: torch_zoo.resnet((3, 3, 3), 8, 10, shortcut="none")),
    "preact_resnet18(width=0.125, small=false)": (
        64, lambda: torch_zoo.preact((2, 2, 2, 2), 8, (8, 16, 32, 64), 10, large=True)),
    "preact_resnet50(width=0.0625, small)": (
        16, lambda: torch_zoo.preact((3, 4, 6, 3), 4, (4, 8, 16, 32), 10, bottleneck=True)),
    "preact_resnet20(width=0.5)": (
        16, lambda: torch_zoo.preact((3, 3, 3), 8, (8, 16, 32), 10, shortcut="A")),
    "wide_resnet(depth=10, k=2)": (
        16, lambda: torch_zoo.preact((1, 1, 1), 16, (32, 64, 128), 10)),
    "mobilenet_v1(width=0.25, small)": (32, lambda: torch_zoo.mobilenet(8, 10, stride=1)),
    "DenseNet of few layers": (16, lambda: torch_zoo.densenet((2, 3, 2), 4, 10)),
    "densenet121(width=0.125, small)": (
        16, lambda: torch_zoo.densenet((6, 12, 24, 16), 4, 10)),
    "densenet121(width=0.125, small=false)": (
        64, lambda: torch_zoo.densenet((6, 12, 24, 16), 4, 10, large=True)),
    "alexnet(width=0.0625, small=false)": (
        67, lambda: torch_zoo_more.alexnet((6, 16, 24, 24, 16), 16, 256, 10)),
    "alexnet(width=0.0625, small=false, one_tower)": (
        67, lambda: torch_zoo_more.alexnet((4, 12, 24, 16, 16), 16, 256, 10, groups=1,
                                            lrn=False)),
    "alexnet(width=0.0625, small)": (
        16, lambda: torch_zoo_more.alexnet((6, 16, 24, 24, 16), 16, 32, 10, small=True)),
    "alexnet(width=0.0625, small, lrn=false)": (
        16, lambda: torch_zoo_more.alexnet((6, 16, 24, 24, 16), 16, 32, 10, small=True,
                                            lrn=False)),
    "zfnet(width=0.0625, small=false)": (
        64, lambda: torch_zoo_more.zfnet((6, 16, 24, 24, 16), 16, 256, 10)),
    "zfnet(width=0.0625, small)": (
        16, lambda: torch_zoo_more.zfnet((6, 16, 24, 24, 16), 64, 32, 10, small=True)),
    "googlenet(width=0.125, small=false)": (
        64, lambda: torch_zoo_more.googlenet(8, 10)),
    "googlenet(width=0.125, small)": (16, lambda: torch_zoo_more.googlenet(8, 10, small=True)),
    "googlenet(width=0.125, small, aux=false)": (
        16, lambda: torch_zoo_more.googlenet(8, 10, small=True, aux=False)),
    "googlenet(width=0.125, small, torchvision)": (
        10, lambda: torch_zoo_more.googlenet(8, 10, small=True, norm=True)),
    "lenet1989_1": (16, lambda: torch_zoo_more.lenet1989(1, 3, 16, 10)),
    "lenet1989_2": (16, lambda: torch_zoo_more.lenet1989(2, 3, 16, 10)),
    "lenet1989_3": (16, lambda: torch_zoo_more.lenet1989(3, 3, 16, 10)),
    "lenet1989_4": (13, lambda: torch_zoo_more.lenet1989(4, 3, 13, 10)),
    "lenet1989_5": (16, lambda: torch_zoo_more.lenet1989(5, 3, 16, 10)),
    "autoencoder(width=0.25, code=5)": (13, lambda: torch_zoo_more.autoencoder((4, 8, 16), 13, 5)),
    "unet(width=0.0625)": (20, lambda: torch_zoo_more.unet(4, 10)),
    "unet(width=0.0625, batch_norm)": (32, lambda: torch_zoo_more.unet(4, 10, norm=True)),
    "unet(width=0.015625, padded=false)": (188, lambda: torch_zoo_more.unet(1, 10, padding=0)),
    "fastnet(width=0.125)": (16, lambda: torch_zoo_more.fastnet((8, 32, 32), 10)),
    "lenet5": (28, lambda: torch_zoo_more.lenet5(3, 10, border=2, left=5)),
    # At the size of the papers: other blocks and windows, and GoogLeNet's heads on 14 x 14 maps.
    # Not the deepest nets with norms: at their end float32 is off by 4e-5 of the root mean square,
    # compiled or not, and in so many numbers some are nearer to a ReLU's edge.
    "vgg11(width=0.0625)": (LARGE, lambda: torch_zoo.vgg(PLAN_A, LARGE, 256, 10)),
    "resnet18(width=0.125)": (
        LARGE, lambda: torch_zoo.resnet((2, 2, 2, 2), 8, 10, large=True)),
    "alexnet(width=0.0625)": (
        LARGE, lambda: torch_zoo_more.alexnet((6, 16, 24, 24, 16), 36 * 16, 256, 10)),
    "zfnet(width=0.0625)": (
        LARGE, lambda: torch_zoo_more.zfnet((6, 16, 24, 24, 16), 36 * 16, 256, 10)),
    "googlenet(width=0.125)": (LARGE, lambda: torch_zoo_more.googlenet(8, 10)),
}


def created(text: str, size: int) -> nn.Module:
    """Our net."""
    if text == "DenseNet of few layers":  # compiled in no time
        return DenseNet((2, 3, 2), 10, width=0.125, input_size=size)
    return models.build(text, (3, size, size), 10)


def drawn(text: str, size: int) -> nn.Module:
    """The net with all its values drawn: norms too, so that none can hide."""
    with nn.seeded(0):
        net = created(text, size)
    rng = np.random.default_rng(0)
    for slot in net.slots():
        if slot.value.ndim == 1:
            low = -0.2 if slot.attribute in ("bias", "running_mean") else 0.5
            slot.value.data = rng.uniform(low, low + 1, slot.value.shape).astype(np.float32)
    return without_dropout(net)


def without_dropout(net: Any) -> Any:
    """Both sides compute in training mode, but draw different masks."""
    for module in net.modules():
        if type(module).__name__ == "Dropout":
            module.p = 0.0
    return net


def peer(text: str, ours: nn.Module) -> Any:
    """The PyTorch module in float64 with the weights of ours."""
    theirs = without_dropout(NETS[text][1]())
    state = {name: torch.tensor(value) for name, value in ours.state_dict().items()}
    wanted = {n: tuple(v.shape) for n, v in theirs.state_dict().items() if "num_batches" not in n}
    assert {name: tuple(value.shape) for name, value in state.items()} == wanted
    theirs.load_state_dict(state, strict=False)
    return theirs.double()


def reference(theirs: Any, x: np.ndarray, gy: np.ndarray) -> dict[str, np.ndarray]:
    """Output, gradients and new statistics of a step in training mode, output in inference."""
    given = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    theirs.eval()
    found = {"inference": theirs(given).detach()}
    theirs.train()
    main, *auxiliary = outputs if isinstance(outputs := theirs(given), tuple) else (outputs,)
    y = main + torch_zoo_more.AUXILIARY * sum(auxiliary)
    (y * torch.tensor(gy, dtype=torch.float64)).sum().backward()
    found |= {"training": y.detach(), "gradient of x of the net": given.grad}
    found |= {f"gradient of {n}": p.grad for n, p in theirs.named_parameters()}
    found |= {n: b for n, b in theirs.named_buffers() if "num_batches" not in n}
    return {name: value.numpy() for name, value in found.items()}


def step(net: nn.Module) -> Callable[..., Any]:
    """The same step as a function of arrays, to be run eagerly or compiled."""
    def f(params: Any, buffers: Any, x: Any, gy: Any) -> Any:
        still, _ = nn.functional_call(net, params, buffers, x)

        def loss(p: Any) -> Any:
            p = dict(p)
            pictures = p.pop("x of the net")
            y, new = nn.functional_call(net, p, buffers, pictures, training=True)
            y = nn.weighted_loss(y, lambda part: part)  # auxiliary outputs with their weight
            return (y * gy).sum(), (y, new)

        _, grads, (y, new) = value_and_grad(loss, {**params, "x of the net": x})
        return still, y, grads, new
    return f


def results(outputs: Any) -> dict[str, np.ndarray]:
    """What a step gives, under the names of `reference`."""
    still, y, grads, new = outputs
    found = {"inference": still, "training": y}
    found |= {f"gradient of {n}": g for n, g in grads.items()}
    found |= new
    return {n: np.asarray(v.data if isinstance(v, Tensor) else v) for n, v in found.items()}


def scale(wanted: dict[str, np.ndarray], name: str) -> float:
    """The largest number of a tensor. The gradient of a bias in front of a norm is 0, and what is
    found is rounding: there it is that of the weight beside it."""
    size = float(np.abs(wanted[name]).max())
    if name.startswith("gradient of") and name.endswith(".bias"):
        weight = float(np.abs(wanted[name.removesuffix("bias") + "weight"]).max())
        return weight if size < 1e-9 * weight else size
    return size


def largest(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> tuple[float, str]:
    """The largest difference, relative to the largest number of its tensor."""
    assert found.keys() == wanted.keys()
    return max((float(np.abs(found[n] - v).max()) / scale(wanted, n), n)
               for n, v in wanted.items())


Arrays = dict[str, np.ndarray]


def state(net: nn.Module, dtype: str) -> tuple[Arrays, Arrays]:
    """Parameters and buffers."""
    return ({n: p.data.astype(dtype) for n, p in net.named_parameters()},
            {n: b.data.astype(dtype) for n, b in net.named_buffers()})


def lead(layer: nn.MaxPool2d, values: np.ndarray) -> np.ndarray:
    """By how much the largest number of a window exceeds the next one. Windows of zeros do not
    count: the ReLU before them lets no gradient through."""
    kernel: Any = layer.kernel_size
    stride: Any = layer.stride
    border: Any = layer.padding
    wide = [(0, 0), (0, 0), *[(border, border + stride - 1)] * 2]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(values, wide, constant_values=-np.inf), (kernel, kernel), (2, 3))
    most = np.partition(windows[:, :, ::stride, ::stride].reshape(-1, kernel**2), (-2, -1))
    return (most[:, -1] - most[:, -2])[most[:, -1] != 0]


def margin(net: nn.Module, x: np.ndarray) -> float:
    """How near the input of a ReLU comes to 0, or two numbers in a window of a max pooling to each
    other, in root mean squares of that input. Nearer than rounding, correct programs decide
    differently, and gradients before it jump: in GoogLeNet at 224 pixels one such window moved
    those of the pictures by 0.7 % of the largest in NumPy's float32, another one by 0.25 % in
    compiled code."""
    found: list[float] = []

    def before(layer: nn.Module, xs: tuple[Any, ...]) -> None:
        values = xs[0].data
        if isinstance(layer, nn.ReLU | nn.MaxPool2d):
            near = np.abs(values) if isinstance(layer, nn.ReLU) else lead(layer, values)
            found.append(float(near.min(initial=np.inf) / np.sqrt(np.mean(values**2))))

    with nn.watch(before=before), no_grad():
        nn.functional_call(net, *state(net, "float64"), x.astype(np.float64), training=True)
    return min(found, default=1.0)


def given(net: nn.Module, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, of some draws those for which no decision is near its edge, and an output
    gradient. Large pictures come alone: each takes ten thousands of decisions and more."""
    samples = 1 if size == LARGE else 4
    draws = [np.random.default_rng(k).standard_normal((samples, 3, size, size), np.float32)
             for k in range(8)]
    shape = nn.output_shape(net, (3, size, size))
    gy = np.random.default_rng(9).standard_normal((samples, *shape), np.float32)
    return max(draws, key=lambda x: margin(net, x)), gy


def is_slow(text: str) -> bool:
    return NETS[text][0] == LARGE or text.startswith(("densenet", "googlenet"))


CASES = [pytest.param(text, marks=[pytest.mark.slow] * is_slow(text)) for text in NETS]


@pytest.mark.parametrize("text", CASES)
def test_the_same_numbers_as_pytorch(text: str) -> None:
    size = NETS[text][0]
    net = drawn(text, size)
    x, gy = given(net, size)
    wanted = reference(peer(text, net), x, gy)
    exact = step(net)(*state(net, "float64"), x.astype(np.float64), gy.astype(np.float64))
    assert largest(results(exact), wanted)[0] < 1e-9
    compiled = kiso.compile(step(net))(*state(net, "float32"), x, gy)
    assert largest(results(compiled), wanted)[0] < 1e-4


@pytest.mark.parametrize("text", CASES)
def test_weights_of_pytorch_fit_by_name(text: str) -> None:
    """As files of such weights hold them: the counters of norms among them."""
    size = NETS[text][0]
    torch.manual_seed(0)
    theirs = NETS[text][1]().eval()
    net = created(text, size).eval()
    assert net.load_state_dict(theirs.state_dict()) == ((), ())
    x = np.random.default_rng(0).standard_normal((2, 3, size, size), np.float32)
    with no_grad(), torch.no_grad():
        np.testing.assert_allclose(net(x).data, theirs(torch.tensor(x)).numpy(), rtol=1e-4,
                                   atol=1e-5)
