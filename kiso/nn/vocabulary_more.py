"""Further words of model descriptions: maps that grow, normalisation, local connections, blocks.

`vocabulary` asks here for the words that it does not know itself; `describe` lists all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from kiso.nn import (
    blocks,
    conv_transpose,
    dropout,
    lenet,
    local,
    pool,
    standardize,
    upsample,
)
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
from kiso.text import tr

__all__ = ["BUILD", "further_word"]

CONVTS = {1: conv_transpose.ConvTranspose1d, 2: conv_transpose.ConvTranspose2d,
          3: conv_transpose.ConvTranspose3d}
INSTANCES = {1: standardize.InstanceNorm1d, 2: standardize.InstanceNorm2d,
             3: standardize.InstanceNorm3d}
ADAPTIVE = {1: pool.AdaptiveAvgPool1d, 2: pool.AdaptiveAvgPool2d, 3: pool.AdaptiveAvgPool3d}
DROPOUTS = {1: dropout.Dropout1d, 2: dropout.Dropout2d, 3: dropout.Dropout3d}
LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}
_LRN = re.compile(r"(\d*)(?:a([\d.e-]+))?(?:b([\d.e-]+))?(?:k([\d.e-]+))?(sum)?")
_RESIZE = re.compile(r"(\d*\.?\d*(?:x\d*\.?\d*)*)(linear)?(corners)?")


def _images(word: str, context: Context) -> int:
    """Channels in front of a layer that there is for images alone."""
    if dimensions(word, context) != 2:
        raise Wrong(tr("{word} is for images (channels, height, width), but here each sample has "
                       "the shape {shape}.", word=word, shape=context.shape))
    return context.shape[0]


def _whole(word: str, rest: str, default: int) -> int:
    """The whole number at the end of a word."""
    if rest and not rest.isdecimal():
        raise unlike(word)
    return int(rest) if rest else default


def _convt(word: str, rest: str, context: Context) -> Module:
    ndim = dimensions(word, context)
    channels, o = split(word, rest, "k s p o d g nobias")
    kernel, stride = (o["k"], o.get("s", 1)) if "k" in o else (2, o.get("s", 2))
    return CONVTS[ndim](context.shape[0], channels or max(1, context.shape[0] // 2), kernel, stride,
                        o.get("p", 0), o.get("o", 0), o.get("g", 1), "nobias" not in o,
                        o.get("d", 1))


def _sepconv(word: str, rest: str, context: Context) -> Module:
    channels, o = split(word, rest, "k s p d nobias")
    kernel, padding = (o["k"], o.get("p", 0)) if "k" in o else (3, o.get("p", "same"))
    own = _images(word, context)
    return blocks.SeparableConv2d(own, channels or own, kernel, o.get("s", 1), padding,
                                  o.get("d", 1), "nobias" not in o)


def _local(word: str, rest: str, context: Context) -> Module:
    ndim = dimensions(word, context)
    channels, o = split(word, rest, "k s p nobias")
    make = {1: local.LocallyConnected1d, 2: local.LocallyConnected2d}.get(ndim)
    if make is None:
        raise Wrong(tr("{word} is for images (channels, height, width), but here each sample has "
                       "the shape {shape}.", word=word, shape=context.shape))
    return make(context.shape[0], channels or 16, context.shape[1:], o.get("k", 3), o.get("s", 1),
                o.get("p", 0), "nobias" not in o)


def _resize(word: str, rest: str, context: Context) -> Module:
    ndim, found = dimensions(word, context), _RESIZE.fullmatch(rest)
    if found is None or (found[3] and not found[2]):
        raise Wrong(tr("{word}: write {kind} with numbers and perhaps linear or linearcorners, for "
                       "example {kind}2linear.", word=word, kind=re.split(r"\d", word)[0]))
    mode = LINEAR_MODES[ndim] if found[2] else "nearest"
    numbers = [real(word, n, 0) for n in found[1].split("x")] if found[1] else [2.0]
    values = [int(n) if n == int(n) else n for n in numbers]
    value: Any = values[0] if len(values) == 1 else tuple(values)
    if word.lower().startswith("resize"):
        return upsample.Upsample(value, None, mode, bool(found[3]))
    return upsample.Upsample(None, value, mode, bool(found[3]))


def _lrn(word: str, rest: str, context: Context) -> Module:
    found = _LRN.fullmatch(rest)
    if found is None:
        raise Wrong(tr("{word}: write lrn with a size and perhaps alpha, beta, k and sum, for "
                       "example {example}.", word=word, example="lrn5a0.0001b0.75k2sum"))
    alpha, beta, k = (real(word, found[i] or "", v) for i, v in ((2, 1e-4), (3, 0.75), (4, 1.0)))
    return standardize.LocalResponseNorm(int(found[1] or 5), alpha, beta, k,
                                         average=found[5] is None)


def _layer_norm(word: str, rest: str, context: Context) -> Module:
    if rest and not re.fullmatch(r"\d+(x\d+)*", rest):
        raise unlike(word)
    return standardize.LayerNorm([int(n) for n in rest.split("x")] if rest else context.shape)


def _instance_norm(word: str, rest: str, context: Context) -> Module:
    if rest not in ("", "affine"):
        raise unlike(word)
    return INSTANCES[dimensions(word, context)](context.shape[0], affine=bool(rest))


def _mean(word: str, rest: str, context: Context) -> Module:
    if not rest:
        return pool.GlobalAvgPool()
    if not re.fullmatch(r"\d+(x\d+)*", rest):
        raise unlike(word)
    return ADAPTIVE[dimensions(word, context)](split(word, rest, "")[0])


def _excitation(word: str, rest: str, context: Context) -> Module:
    own = _images(word, context)
    return blocks.SqueezeExcitation(own, _whole(word, rest, max(1, own // 16)))


Build = Callable[[str, str, Context], Module]

BUILD: dict[str, Build] = {
    "convt": _convt, "sepconv": _sepconv, "local": _local, "upsample": _resize, "resize": _resize,
    "lrn": _lrn, "ln": _layer_norm, "in": _instance_norm, "gap": _mean, "se": _excitation,
    "gn": lambda word, rest, context: standardize.GroupNorm(_whole(word, rest, 32),
                                                            context.shape[0]),
    "shuffle": lambda word, rest, context: upsample.PixelShuffle(_whole(word, rest, 2)),
    "unshuffle": lambda word, rest, context: upsample.PixelUnshuffle(_whole(word, rest, 2)),
    "subsample": lambda word, rest, context: lenet.Subsampling2d(_images(word, context),
                                                                 split(word, rest, "")[0] or 2),
    "lenetc3": lambda word, rest, context: lenet.SparseConv2d(lenet.LENET5_C3,
                                                              _whole(word, rest, 5)),
    "spatialdropout": lambda word, rest, context: DROPOUTS[dimensions(word, context)](
        real(word, rest, 0.5)),
    "stochdepth": lambda word, rest, context: dropout.StochasticDepth(real(word, rest, 0.1)),
}


# Back to text -------------------------------------------------------------------------------------

def _resize_word(m: upsample.Upsample) -> str:
    name, value = ("upsample", m.scale_factor) if m.size is None else ("resize", m.size)
    numbers: tuple[float, ...] = value if isinstance(value, tuple) else (value or 0,)
    return (name + "x".join(map(number, numbers)) + "linear" * (m.mode != "nearest")
            + "corners" * m.align_corners)


def _lrn_word(m: standardize.LocalResponseNorm) -> str:
    options = (("a", m.alpha, 1e-4), ("b", m.beta, 0.75), ("k", m.k, 1.0))
    return f"lrn{m.size}" + "".join(
        "" if value == default else letter + number(value) for letter, value, default in options
    ) + "sum" * (not m.average)


def _convolution_word(m: Module) -> str | None:
    """For a layer with filters."""
    nobias = "nobias" * (getattr(m, "bias", None) is None)
    if isinstance(m, conv_transpose.ConvTransposeNd):
        return (f"convt{m.out_channels}k{joined(m.kernel_size)}" + option("s", m.stride, 1)
                + option("p", m.padding, 0) + option("o", m.output_padding, 0)
                + option("d", m.dilation, 1) + option("g", m.groups, 1) + nobias)
    if isinstance(m, blocks.SeparableConv2d):
        d, p = m.depthwise, m.pointwise
        nobias = "nobias" * (p.bias is None)
        return (f"sepconv{p.out_channels}k{joined(d.kernel_size)}" + option("s", d.stride, 1)
                + option("p", d.padding, 0) + option("d", d.dilation, 1) + nobias)
    if isinstance(m, local.LocallyConnectedNd):
        return (f"local{m.out_channels}k{joined(m.kernel_size)}" + option("s", m.stride, 1)
                + option("p", m.padding, 0) + nobias)
    if isinstance(m, lenet.SparseConv2d) and (m.table, m.padding) == (lenet.LENET5_C3, 0):
        return None if isinstance(m.kernel_size, tuple) else (
            "lenetc3" + ("" if m.kernel_size == 5 else str(m.kernel_size)))
    return None


def _plain_word(m: Module) -> str | None:
    """For a layer without filters; None if it has options that the word cannot say."""
    word, plain = "", m
    if isinstance(m, standardize.LayerNorm):
        word, plain = f"ln{joined(m.normalized_shape)}", standardize.LayerNorm(m.normalized_shape)
    elif isinstance(m, standardize.GroupNorm):
        word = f"gn{m.num_groups}"
        plain = standardize.GroupNorm(m.num_groups, m.num_channels)
    elif isinstance(m, standardize.InstanceNormNd):
        word, plain = "in" + "affine" * m.affine, type(m)(m.num_features, affine=m.affine)
    elif isinstance(m, dropout.StochasticDepth):
        word, plain = f"stochdepth{number(m.p)}", dropout.StochasticDepth(m.p)
    elif isinstance(m, pool.AdaptiveAvgPoolNd) and "None" not in str(m.output_size):
        word = f"gap{joined(m.output_size)}"
    elif isinstance(m, blocks.SqueezeExcitation):
        word = f"se{m.squeeze_channels}"
    elif isinstance(m, upsample.PixelShuffle):
        word = f"shuffle{m.upscale_factor}"
    elif isinstance(m, upsample.PixelUnshuffle):
        word = f"unshuffle{m.downscale_factor}"
    elif isinstance(m, lenet.Subsampling2d):
        word = f"subsample{joined(m.kernel_size)}"
    elif isinstance(m, dropout.DropoutNd):
        word = f"spatialdropout{number(m.p)}"
    return word if word and same(m, plain) else None


def further_word(m: Module) -> str | None:
    """The word for a layer of this vocabulary, None if there is none for exactly this layer."""
    if isinstance(m, upsample.Upsample):
        return _resize_word(m)
    if isinstance(m, standardize.LocalResponseNorm):
        return _lrn_word(m)
    return _convolution_word(m) or _plain_word(m)
