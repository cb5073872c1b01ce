"""The words of model descriptions: how each becomes a layer, and each layer a word again.

A word is a name with numbers and options attached: conv30k5s2, maxpool3s2p1, linear100, dropout0.5.
See `describe` for the list with meanings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from kiso.errors import DescriptionError
from kiso.nn import activation, container, conv, dropout, linear, norm, pool, reshaping
from kiso.nn.module import Module
from kiso.ops import Shape
from kiso.text import tr

__all__ = ["NAMES", "Context", "Unknown", "Wrong", "layer_of", "word_of"]

_LARGEST = 10**7
_SIZES = r"\d+(?:x\d+)*"
_OPTIONS = re.compile(rf"nobias|ceil|nopad|affine0|psame|pvalid|[kspdg]{_SIZES}", re.I)
_FLOAT = r"-?\d+(?:\.\d*)?(?:e-?\d+)?|-?\.\d+"


class Wrong(Exception):
    """A word cannot be used like this; the message says why."""

    unknown = False


class Unknown(Wrong):
    """There is no such word."""

    unknown = True


@dataclass
class Context:
    """What a word may depend on."""

    shape: Shape  # of one sample in front of the layer
    pools: int = 0  # pooling layers so far
    last_units: int | None = None  # for a bare linear at the end


# name -> (class, fixed options); what takes no numbers
PLAIN: dict[str, type[Module]] = {
    "flatten": reshaping.Flatten, "identity": reshaping.Identity, "gap": pool.GlobalAvgPool,
    "gmp": pool.GlobalMaxPool, "relu": activation.ReLU, "relu6": activation.ReLU6,
    "sigmoid": activation.Sigmoid, "tanh": activation.Tanh, "silu": activation.SiLU,
    "softplus": activation.Softplus, "hardsigmoid": activation.Hardsigmoid,
    "hardswish": activation.Hardswish, "step": activation.Step, "softmax": activation.Softmax,
    "logsoftmax": activation.LogSoftmax, "gelu": activation.GELU,
    "hardtanh": activation.Hardtanh,
}
# name -> (class, attribute, default): one optional number
NUMBERED: dict[str, tuple[Callable[..., Module], str, float]] = {
    "dropout": (dropout.Dropout, "p", 0.5),
    "leakyrelu": (activation.LeakyReLU, "negative_slope", 0.01),
    "elu": (activation.ELU, "alpha", 1.0),
}
ALIASES = {"affine": "linear", "dense": "linear", "fc": "linear", "maxpool": "pool",
           "swish": "silu", "batchnorm": "bn", "id": "identity", "drop": "dropout"}
CONVS = {1: conv.Conv1d, 2: conv.Conv2d, 3: conv.Conv3d}
MAXPOOLS = {1: pool.MaxPool1d, 2: pool.MaxPool2d, 3: pool.MaxPool3d}
AVGPOOLS = {1: pool.AvgPool1d, 2: pool.AvgPool2d, 3: pool.AvgPool3d}
NORMS = {0: norm.BatchNorm1d, 1: norm.BatchNorm1d, 2: norm.BatchNorm2d, 3: norm.BatchNorm3d}
NAMES = tuple(sorted({*PLAIN, *NUMBERED, *ALIASES, "avgpool", "bn", "conv", "linear", "pad", "pool",
                      "reshape"}, key=len, reverse=True))


def layer_of(word: str, context: Context) -> list[Module]:
    """The layer (or, with the flattening that a linear needs, two) that a word stands for.

    Errors: Wrong with the reason; ShapeError and ConfigError of the layers themselves.
    """
    lower = word.lower()
    name = next((n for n in NAMES if lower.startswith(n)), None)
    if name is None:
        raise Unknown(tr("{word} is no word of a model description.", word=word))
    rest = lower[len(name):]
    kind = ALIASES.get(name, name)
    if kind in PLAIN:
        if rest:
            raise Unknown(tr("{word} is no word of a model description.", word=word))
        return [PLAIN[kind]()]
    if kind in NUMBERED:
        make, _, default = NUMBERED[kind]
        return [make(_float(word, rest, default))]
    build = {"conv": _conv, "linear": _linear, "pool": _pool, "avgpool": _pool, "bn": _norm,
             "pad": _pad, "reshape": _reshape}[kind]
    return build(word, kind, rest, context)


def _float(word: str, rest: str, default: float) -> float:
    if not rest:
        return default
    if not re.fullmatch(_FLOAT, rest):
        raise Wrong(tr("{word}: {rest} is no number.", word=word, rest=rest))
    return float(rest)


def _size(text: str) -> int | tuple[int, ...]:
    numbers = [int(n) for n in text.split("x")]
    if max(numbers) > _LARGEST:
        raise Wrong(tr("{number} is too large; the limit is {limit}.", number=max(numbers),
                       limit=_LARGEST))
    return numbers[0] if len(numbers) == 1 else tuple(numbers)


def _split(word: str, rest: str, allowed: str) -> tuple[Any, dict[str, Any]]:
    """("30", {"k": 5}) of "30k5": the leading number, if any, and the options."""
    head = re.match(_SIZES, rest)
    number = _size(head[0]) if head else None
    at, options = head.end() if head else 0, dict[str, Any]()
    while at < len(rest):
        found = _OPTIONS.match(rest, at)
        key = "" if found is None else next(
            (k for k in ("nobias", "ceil", "nopad") if found[0].startswith(k)), found[0][0])
        if found is None or f" {key} " not in f" {allowed} ":
            raise Wrong(tr("{word}: {rest} is no option here; it takes {options}.", word=word,
                           rest=rest[at:], options=allowed))
        if key in options:
            raise Wrong(tr("{word}: {option} is given twice.", word=word, option=key))
        value = found[0][len(key):]
        options[key] = True if not value else (
            value if value in ("same", "valid") else _size(value))
        at = found.end()
    return number, options


def _maps(word: str, context: Context) -> int:
    """Number of spatial axes in front of the layer, 1 to 3."""
    ndim = len(context.shape) - 1
    if ndim not in CONVS:
        raise Wrong(tr("{word} needs maps (channels, height, width), but here each sample has the "
                       "shape {shape}.", word=word, shape=context.shape))
    return ndim


def _conv(word: str, kind: str, rest: str, context: Context) -> list[Module]:
    ndim = _maps(word, context)
    channels, o = _split(word, rest, "k s p d g nobias")
    if channels is None:
        channels = min(512, 16 * 2**context.pools)
    kernel, padding = (o["k"], o.get("p", 0)) if "k" in o else (3, o.get("p", "same"))
    return [CONVS[ndim](context.shape[0], channels, kernel, o.get("s", 1), padding, o.get("d", 1),
                        o.get("g", 1), "nobias" not in o)]


def _linear(word: str, kind: str, rest: str, context: Context) -> list[Module]:
    units, o = _split(word, rest, "nobias")
    if units is None:
        units = context.last_units or 100
    layers: list[Module] = [reshaping.Flatten()] if len(context.shape) > 1 else []
    return [*layers, linear.Linear(math.prod(context.shape), units, "nobias" not in o)]


def _pool(word: str, kind: str, rest: str, context: Context) -> list[Module]:
    ndim = _maps(word, context)
    allowed = "s p ceil nopad" if kind == "avgpool" else "s p ceil"
    size, o = _split(word, rest, allowed)
    size, stride = 2 if size is None else size, o.get("s")
    if kind == "avgpool":
        return [AVGPOOLS[ndim](size, stride, o.get("p", 0), "ceil" in o, "nopad" not in o)]
    return [MAXPOOLS[ndim](size, stride, o.get("p", 0), ceil_mode="ceil" in o)]


def _norm(word: str, kind: str, rest: str, context: Context) -> list[Module]:
    if rest:
        raise Wrong(tr("{word}: bn takes no numbers.", word=word))
    ndim = len(context.shape) - 1
    if ndim not in NORMS:
        raise Wrong(tr("{word} needs maps (channels, height, width), but here each sample has the "
                       "shape {shape}.", word=word, shape=context.shape))
    return [NORMS[ndim](context.shape[0])]


def _pad(word: str, kind: str, rest: str, context: Context) -> list[Module]:
    width, _ = _split(word, rest, "")
    if not isinstance(width, int):
        raise Wrong(tr("{word}: write pad with one width, for example pad1.", word=word))
    return [reshaping.Pad(width)]


def _reshape(word: str, kind: str, rest: str, context: Context) -> list[Module]:
    shape, _ = _split(word, rest, "")
    if shape is None:
        raise Wrong(tr("{word}: write reshape with the new shape, for example reshape16x4x4.",
                       word=word))
    return [reshaping.Reshape(*((shape,) if isinstance(shape, int) else shape))]


# Back to text -------------------------------------------------------------------------------------

def _same(layer: Module, other: Module) -> bool:
    """Whether two layers are the same but for their weights."""
    return type(layer) is type(other) and layer.extra_repr() == other.extra_repr()


def _joined(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, cast("tuple[int, ...]", value)))
    return str(value)


def _option(letter: str, value: Any, default: Any) -> str:
    return "" if value == default else letter + _joined(value)


def _conv_word(m: conv.ConvNd) -> str:
    return (f"conv{m.out_channels}k{_joined(m.kernel_size)}" + _option("s", m.stride, 1)
            + _option("p", m.padding, 0) + _option("d", m.dilation, 1) + _option("g", m.groups, 1)
            + "nobias" * (m.bias is None))


def _pool_word(m: pool.PoolNd) -> str:
    name = "avgpool" if isinstance(m, pool.AvgPoolNd) else "pool"
    nopad = isinstance(m, pool.AvgPoolNd) and not m.count_include_pad
    return (name + _joined(m.kernel_size) + _option("s", m.stride, m.kernel_size)
            + _option("p", m.padding, 0) + "ceil" * m.ceil_mode + "nopad" * nopad)


def word_of(layer: Module) -> str:
    """The word for a layer.  Errors: DescriptionError if no word stands for exactly this layer."""
    for name, cls in PLAIN.items():
        if type(layer) is cls and _same(layer, cls()):
            return name
    for name, (cls, attribute, default) in NUMBERED.items():
        if type(layer) is cls:
            value = getattr(layer, attribute)
            number = f"{value:.17g}" if float(f"{value:.6g}") != value else f"{value:.6g}"
            return name + ("" if value == default else number.replace("e+", "e"))
    if type(layer) in CONVS.values() and isinstance(layer, conv.ConvNd):
        return _conv_word(layer)
    if type(layer) in (*MAXPOOLS.values(), *AVGPOOLS.values()) and isinstance(layer, pool.PoolNd):
        return _pool_word(layer)
    if isinstance(layer, linear.Linear):
        return f"linear{layer.out_features}" + "nobias" * (layer.bias is None)
    if isinstance(layer, norm.BatchNormNd) and _same(layer, type(layer)(layer.num_features)):
        return "bn"
    if isinstance(layer, reshaping.Pad) and isinstance(layer.padding, int) and not layer.value:
        return f"pad{layer.padding}"
    if isinstance(layer, reshaping.Reshape) and -1 not in layer.shape:
        return f"reshape{_joined(layer.shape)}"
    if isinstance(layer, container.Sequential):
        return f"seq({_words(layer)})"
    if isinstance(layer, container.Residual):
        way = "" if layer.shortcut is None else f" | {_branch(layer.shortcut)}"
        return f"res({_words(layer.body)}{way})"
    if isinstance(layer, container.Parallel) and len(layer.branches) > 1:
        name = "cat" if layer.merge == "concat" else "add"
        return f"{name}({' | '.join(map(_branch, layer.branches))})"
    raise DescriptionError(tr("{layer} cannot be written as text; save such a model by its Python "
                              "class.", layer=f"{type(layer).__name__}({layer.extra_repr()})"))


def _words(layer: Module) -> str:
    layers = layer.layers if isinstance(layer, container.Sequential) else [layer]
    return " ".join(map(word_of, layers))


def _branch(layer: Module) -> str:
    """A branch; one that is a Sequential of a single layer must say so, or it would be bare."""
    single = isinstance(layer, container.Sequential) and len(layer) == 1
    return word_of(layer) if single else _words(layer)
