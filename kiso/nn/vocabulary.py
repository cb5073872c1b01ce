"""The words of model descriptions: how each becomes a layer, and each layer a word again.

A word is a name with numbers and options attached: conv30k5s2, maxpool3s2p1, linear100, dropout0.5.
See `describe` for the list with meanings.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from kiso.errors import DescriptionError
from kiso.nn import activation, container, conv, dropout, linear, local, norm, pool, reshaping
from kiso.nn.module import Module
from kiso.nn.spelling import (
    Context,
    Wrong,
    dimensions,
    joined,
    number,
    option,
    real,
    same,
    split,
    unlike,
)
from kiso.nn.vocabulary_more import BUILD, further_word
from kiso.text import tr

__all__ = ["NAMES", "Context", "Wrong", "layer_of", "word_of"]

# name -> (class, fixed options); what takes no numbers
PLAIN: dict[str, type[Module]] = {
    "flatten": reshaping.Flatten, "identity": reshaping.Identity,
    "scaledtanh": activation.ScaledTanh, "gmp": pool.GlobalMaxPool,
    "relu": activation.ReLU, "relu6": activation.ReLU6, "sigmoid": activation.Sigmoid,
    "tanh": activation.Tanh, "silu": activation.SiLU,
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
           "swish": "silu", "batchnorm": "bn", "id": "identity", "drop": "dropout",
           "layernorm": "ln", "groupnorm": "gn", "instancenorm": "in"}
CONVS = {1: conv.Conv1d, 2: conv.Conv2d, 3: conv.Conv3d}
MAXPOOLS = {1: pool.MaxPool1d, 2: pool.MaxPool2d, 3: pool.MaxPool3d}
AVGPOOLS = {1: pool.AvgPool1d, 2: pool.AvgPool2d, 3: pool.AvgPool3d}
NORMS = {0: norm.BatchNorm1d, 1: norm.BatchNorm1d, 2: norm.BatchNorm2d, 3: norm.BatchNorm3d}
NAMES = tuple(sorted({*PLAIN, *NUMBERED, *ALIASES, *BUILD, "avgpool", "bn", "conv", "linear",
                      "pad", "pool", "reshape"}, key=len, reverse=True))


def layer_of(word: str, context: Context) -> list[Module]:
    """The layer (or, with the flattening that a linear needs, two) that a word stands for.

    Errors: Wrong with the reason; ShapeError and ConfigError of the layers themselves.
    """
    lower = word.lower()
    name = next((n for n in NAMES if lower.startswith(n)), None)
    if name is None:
        raise unlike(word)
    rest = lower[len(name):]
    kind = ALIASES.get(name, name)
    if kind in PLAIN:
        if rest:
            raise unlike(word)
        return [PLAIN[kind]()]
    if kind in BUILD:
        return [BUILD[kind](word, rest, context)]
    if kind in NUMBERED:
        make, _, default = NUMBERED[kind]
        return [make(real(word, rest, default))]
    build = {"conv": _conv, "linear": _linear, "pool": _pool, "avgpool": _pool, "bn": _norm,
             "pad": _pad, "reshape": _reshape}[kind]
    return build(word, kind, rest, context)


def _conv(word: str, kind: str, rest: str, context: Context) -> list[Module]:
    ndim = dimensions(word, context)
    channels, o = split(word, rest, "k s p d g nobias" + " untied" * (ndim == 2))
    if channels is None:
        channels = min(512, 16 * 2**context.pools)
    kernel, padding = (o["k"], o.get("p", 0)) if "k" in o else (3, o.get("p", "same"))
    if "untied" in o:
        return [local.UntiedConv2d(context.shape[0], channels, context.shape[1:], kernel,
                                   o.get("s", 1), padding, o.get("d", 1), o.get("g", 1))]
    return [CONVS[ndim](context.shape[0], channels, kernel, o.get("s", 1), padding, o.get("d", 1),
                        o.get("g", 1), "nobias" not in o)]


def _linear(word: str, kind: str, rest: str, context: Context) -> list[Module]:
    units, o = split(word, rest, "nobias")
    if units is None:
        units = context.last_units or 100
    layers: list[Module] = [reshaping.Flatten()] if len(context.shape) > 1 else []
    return [*layers, linear.Linear(math.prod(context.shape), units, "nobias" not in o)]


def _pool(word: str, kind: str, rest: str, context: Context) -> list[Module]:
    ndim = dimensions(word, context)
    allowed = "s p ceil nopad" if kind == "avgpool" else "s p ceil"
    size, o = split(word, rest, allowed)
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
    width, _ = split(word, rest, "")
    if not isinstance(width, int):
        raise Wrong(tr("{word}: write pad with one width, for example pad1.", word=word))
    return [reshaping.Pad(width)]


def _reshape(word: str, kind: str, rest: str, context: Context) -> list[Module]:
    shape, _ = split(word, rest, "")
    if shape is None:
        raise Wrong(tr("{word}: write reshape with the new shape, for example reshape16x4x4.",
                       word=word))
    return [reshaping.Reshape(*((shape,) if isinstance(shape, int) else shape))]


# Back to text -------------------------------------------------------------------------------------

def _conv_word(m: conv.ConvNd) -> str:
    return (f"conv{m.out_channels}k{joined(m.kernel_size)}" + option("s", m.stride, 1)
            + option("p", m.padding, 0) + option("d", m.dilation, 1) + option("g", m.groups, 1)
            + ("untied" if isinstance(m, local.UntiedConv2d) else "nobias" * (m.bias is None)))


def _pool_word(m: pool.PoolNd) -> str:
    name = "avgpool" if isinstance(m, pool.AvgPoolNd) else "pool"
    nopad = isinstance(m, pool.AvgPoolNd) and not m.count_include_pad
    return (name + joined(m.kernel_size) + option("s", m.stride, m.kernel_size)
            + option("p", m.padding, 0) + "ceil" * m.ceil_mode + "nopad" * nopad)


def word_of(layer: Module) -> str:
    """The word for a layer.  Errors: DescriptionError if no word stands for exactly this layer."""
    for name, cls in PLAIN.items():
        if type(layer) is cls and same(layer, cls()):
            return name
    if type(layer) is pool.GlobalAvgPool:
        return "gap"
    for name, (cls, attribute, default) in NUMBERED.items():
        if type(layer) is cls:
            value = getattr(layer, attribute)
            return name + ("" if value == default else number(value))
    further = further_word(layer)
    if further is not None:
        return further
    if type(layer) in (*CONVS.values(), local.UntiedConv2d) and isinstance(layer, conv.ConvNd):
        return _conv_word(layer)
    if type(layer) in (*MAXPOOLS.values(), *AVGPOOLS.values()) and isinstance(layer, pool.PoolNd):
        return _pool_word(layer)
    if isinstance(layer, linear.Linear):
        return f"linear{layer.out_features}" + "nobias" * (layer.bias is None)
    if isinstance(layer, norm.BatchNormNd) and same(layer, type(layer)(layer.num_features)):
        return "bn"
    if isinstance(layer, reshaping.Pad) and isinstance(layer.padding, int) and not layer.value:
        return f"pad{layer.padding}"
    if isinstance(layer, reshaping.Reshape) and -1 not in layer.shape:
        return f"reshape{joined(layer.shape)}"
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
