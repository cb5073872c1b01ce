"""Model descriptions: a net in one line of text, and back.

    nn.from_text("conv30k5 relu pool2 flatten linear100 relu linear10", (1, 28, 28))

Words stand for layers, in the order of the data; numbers of input channels and features follow
from the shape of the input.

    conv30k5        convolution: 30 filters, kernel 5x5 (k3x5: 3 by 5). Options in any order:
                    s2 stride, p2 padding, psame, pvalid, d2 dilation, g2 groups, nobias.
                    Without k: 3x3 psame. Bare: 16 filters, twice as many after each pooling.
                    untied: a bias of its own for each unit
    convt32k4s2p1   transposed convolution: 32 maps; also o output padding. Without k: 2x2 with
                    stride 2, twice the size. Bare: half as many maps
    sepconv64k3s2   depthwise separable convolution; options and defaults as conv
    local8k3        locally connected: filters of their own at each place; s, p, nobias
    pool2           maximum pooling (also maxpool); stride = size unless s, then p and ceil:
                    pool3s2p1ceil. Bare: size 2
    avgpool2        average pooling; avgpool3p1nopad leaves the padding out of the mean
    gap gmp         global average, global maximum pooling; gap7 or gap7x7: average pooling to
                    maps of that size
    upsample2       maps twice as large by repetition; upsample2linear: by interpolation,
                    upsample2linearcorners with aligned corners; resize14x14: to a size
    shuffle2 unshuffle2   pixel shuffle and its inverse
    linear100       dense layer (also affine, dense, fc); nobias. Bare: 100 units, at the end
                    `outputs`. A flatten is put before it where maps come in
    bn              batch norm (also batchnorm)
    ln gn8 in       layer norm of whole samples (ln64: of the last axes, here 64), group norm in 8
                    groups (bare: 32), instance norm (inaffine: with scale and shift)
    lrn5            local response norm over 5 channels; lrn5a0.0001b0.75k2sum as in the paper
    se8             squeeze-and-excitation through 8 channels; bare: a sixteenth
    subsample2 lenetc3    LeNet-5's learnt sub-sampling, its sparse third convolution
    dropout0.5      dropout; bare: 0.5. spatialdropout0.5: of whole maps;
                    stochdepth0.1: of whole branches, at the end of a res body
    relu sigmoid tanh leakyrelu0.1 elu gelu silu softplus relu6 hardtanh hardsigmoid hardswish
    scaledtanh step softmax logsoftmax      activations
    flatten reshape16x4x4 pad1 identity     shapes
    {conv64 bn relu} x3                     the group three times over; (...) x3 and * 3 too
    res(conv16 bn relu conv16 bn)           residual block; with a shortcut: res(body | shortcut)
    cat(conv8k1 | conv8k3psame)             side by side, joined along the channels
    add(conv8k1 | conv8k3psame)             side by side, added
    seq(conv16 relu)                        a Sequential of its own inside

Separators are white space, "," ";" and "+"; capitals do not matter. Errors point at the word.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kiso.errors import ConfigError, DescriptionError, ShapeError
from kiso.nn.container import Parallel, Residual, Sequential
from kiso.nn.module import Module
from kiso.nn.pool import PoolNd
from kiso.nn.probe import output_shape
from kiso.nn.vocabulary import NAMES, Context, Wrong, layer_of, word_of
from kiso.nn.words import BRANCHES, Branch, Group, Item, Text, Word, parse
from kiso.ops import Shape
from kiso.text import tr

__all__ = ["from_text", "to_text"]


def from_text(text: str, input_shape: Sequence[int], outputs: int | None = None) -> Sequential:
    """Build the net that a description stands for; see the top of this file for the grammar.

    `input_shape` is that of one sample: (1, 28, 28), or (13,) for a table. `outputs` is the number
    of units of a bare `linear` at the end (before an optional softmax).

    Errors: DescriptionError with a caret under the wrong word, the reason (an impossible size with
    its formula filled in) and words that are near.
    """
    shape = tuple(input_shape)
    if not shape or any(not isinstance(n, int | np.integer) or n < 1 for n in shape):
        raise ConfigError(f"input_shape is {input_shape!r}; expected the shape of one sample, for "
                          "example (1, 28, 28).")
    source = Text(text)
    items = parse(source)
    if not items:
        raise DescriptionError(tr("The model description is empty; write for example "
                                  "\"{example}\".", example="flatten linear100 relu linear10"))
    builder = Builder(source, _last_linear(items) if outputs is not None else None, outputs)
    layers, _ = builder.build(items, tuple(map(int, shape)))
    return Sequential(*layers)


def to_text(model: Module) -> str:
    """The description of a model, such that `from_text` builds the same layers.

    Weights and rules for first weights are not part of it. Errors: DescriptionError naming the
    first layer that no word stands for.
    """
    layers = model.layers if isinstance(model, Sequential) else [model]
    return " ".join(map(word_of, layers))


class Builder:
    """Walks over the items with the shape of one sample, layer by layer."""

    def __init__(self, source: Text, last: Word | None, outputs: int | None):
        self.source = source
        self.last = last
        self.outputs = outputs
        self.pools = 0

    def build(self, items: Sequence[Item], shape: Shape) -> tuple[list[Module], Shape]:
        """Layers for the items, and the shape behind them."""
        layers: list[Module] = []
        for item in items:
            if isinstance(item, Group):
                for _ in range(item.times):
                    more, shape = self.build(item.items, shape)
                    layers += more
                continue
            word = item if isinstance(item, Word) else item.word
            new = self.word(item, shape) if isinstance(item, Word) else [self.branch(item, shape)]
            for layer in new:
                shape = self.after(layer, word, shape)
                self.pools += isinstance(layer, PoolNd)
            layers += new
        return layers, shape

    def word(self, word: Word, shape: Shape) -> list[Module]:
        """Layers for one word."""
        units = self.outputs if word is self.last else None
        try:
            return layer_of(word.text, Context(shape, self.pools, units))
        except Wrong as error:
            self.source.fail(word, str(error), (*NAMES, *BRANCHES) if error.unknown else ())
        except (ConfigError, ShapeError) as error:
            self.source.fail(word, str(error))

    def branch(self, item: Branch, shape: Shape) -> Module:
        """The container of a res, cat, add or seq."""
        kind = item.word.text.lower()
        parts = [Sequential(*self.build(part, shape)[0]) for part in item.parts]
        if kind == "seq":
            return parts[0]
        if kind == "res":
            shortcut = None if len(parts) == 1 else _alone(parts[1])
            return Residual(*parts[0].layers, shortcut=shortcut)
        return Parallel(*map(_alone, parts), merge="concat" if kind == "cat" else "add")

    def after(self, layer: Module, word: Word, shape: Shape) -> Shape:
        """Shape behind a layer; a misfit is told at the layer's word."""
        try:
            return output_shape(layer, shape)
        except (ShapeError, ConfigError) as error:
            reason = getattr(error, "reason", str(error))
            self.source.fail(word, tr("{word} does not fit the shape {shape} in front of it: "
                                      "{reason}", word=word.text, shape=shape, reason=reason))


def _alone(part: Sequential) -> Module:
    """The only layer of a part, or the part."""
    return part.layers[0] if len(part) == 1 else part


def _last_linear(items: Sequence[Item]) -> Word | None:
    """The word of the last layer, behind which only softmax or the like may stand."""
    for item in reversed(items):
        if isinstance(item, Group):
            return _last_linear(item.items) if item.times == 1 else None
        if isinstance(item, Branch):
            return None
        if item.text.lower() not in ("softmax", "logsoftmax", "identity", "sigmoid"):
            return item
    return None
