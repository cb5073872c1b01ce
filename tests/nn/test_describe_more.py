"""The further words of descriptions: text -> layer -> text, defaults, errors."""

from __future__ import annotations

import pytest

from kiso import nn
from kiso.errors import DescriptionError
from tests.nn.test_describe import there_and_back

IMAGE = (4, 12, 12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("convt8k4s2p1o1d1g2nobias convt6k3x5s2x1p1", "convt8k4s2p1o1g2nobias convt6k3x5s2x1p1"),
        ("convt6", "convt6k2s2"),
        ("convt", "convt2k2s2"),
        ("sepconv8k3s2p1d2nobias sepconv6", "sepconv8k3s2p1d2nobias sepconv6k3psame"),
        ("conv6k3p1untied conv2untied", "conv6k3p1untied conv2k3psameuntied"),
        ("local6k5s2p1nobias local3", "local6k5s2p1nobias local3k3"),
        ("upsample2x3 upsample1.5 upsample", "upsample2x3 upsample1.5 upsample2"),
        ("upsample2linear upsample2linearcorners", None),
        ("resize9 resize14x7linear", None),
        ("shuffle2 unshuffle2 shuffle", "shuffle2 unshuffle2 shuffle2"),
        ("lrn5 lrn lrn3a0.5b1k2sum", "lrn5 lrn5 lrn3a0.5b1k2sum"),
        ("lrn5a1e-3", "lrn5a0.001"),
        ("ln ln12 ln12x12", "ln4x12x12 ln12 ln12x12"),
        ("gn2 in inaffine layernorm groupnorm1", "gn2 in inaffine ln4x12x12 gn1"),
        ("gap7 gap3x4 gap", None),
        ("se se2", "se1 se2"),
        ("subsample2 subsample3x2 subsample", "subsample2 subsample3x2 subsample2"),
        ("conv6 lenetc3", "conv6k3psame lenetc3"),
        ("conv6 lenetc33", "conv6k3psame lenetc33"),
        ("spatialdropout0.2 spatialdropout", "spatialdropout0.2 spatialdropout0.5"),
        ("res(conv4k3p1 bn relu stochdepth0.2) stochdepth",
         "res(conv4k3p1 bn relu stochdepth0.2) stochdepth0.1"),
        ("scaledtanh", None),
    ],
)
def test_words(text: str, expected: str | None) -> None:
    assert there_and_back(text) == (expected or text)


@pytest.mark.parametrize("shape", [(4, 12), (4, 12, 12), (4, 6, 6, 6)])
def test_dimensions_follow_from_the_input(shape: tuple[int, ...]) -> None:
    text = "convt6k3s2 upsample2linear in gap3 spatialdropout0.5"
    assert there_and_back(text, shape) == text
    layers = nn.from_text(text, shape)
    ending = f"{len(shape) - 1}d"
    assert [type(m).__name__.endswith(ending) for m in layers] == [True, False, True, True, True]
    assert layers.summary(shape).output_shape == (6, *[3] * (len(shape) - 1))


@pytest.mark.parametrize(
    ("text", "word", "message"),
    [
        ("convt8k2p9", "convt8k2p9", r"\(12 - 1\)\*1 - 2\*9 \+ 1\*\(2 - 1\) \+ 0 \+ 1 = -5"),
        ("convt8k2s2o2", "convt8k2s2o2", "output_padding is 2; expected less than the stride 2"),
        ("gn3", "gn3", "cannot be shared out evenly to 3 groups"),
        ("gn", "gn", "to 32 groups"),
        ("gnx", "gnx", "no word of a model"),
        ("lnx", "lnx", "no word of a model"),
        ("ln5", "ln5", r"must end in the axes \(5,\)"),
        ("inner", "inner", "no word of a model"),
        ("seq", "seq", "no word of a model"),
        ("upsample2cubic", "upsample2cubic", "upsample2linear"),
        ("upsample2corners", "upsample2corners", "upsample2linear"),
        ("upsample0.01", "upsample0.01", "leaves no element"),
        ("upsample0", "upsample0", "scale_factor is 0"),
        ("lrnq", "lrnq", "lrn5a0.0001b0.75k2sum"),
        ("lrn5ae", "lrn5ae", "e is no number"),
        ("gap2x2x2", "gap2x2x2", "expected 2 numbers"),
        ("gapy", "gapy", "no word of a model"),
        ("shuffle3", "shuffle3", "multiple of 3^2 = 9"),
        ("unshuffle5", "unshuffle5", "multiples of 5"),
        ("lenetc3", "lenetc3", "channels"),
        ("flatten se", "se", "needs maps"),
        ("reshape4x144 sepconv8", "sepconv8", "is for images"),
        ("reshape4x3x4x12 local8", "local8", "is for images"),
        ("reshape4x144 conv8untied", "conv8untied", "untied is no option here"),
        ("stochdepth1", "stochdepth1", "switch off every unit"),
    ],
)
def test_errors_point_at_the_word(text: str, word: str, message: str) -> None:
    with pytest.raises(DescriptionError, match=message.replace("^", r"\^")) as caught:
        nn.from_text(text, IMAGE)
    *_, line, pointer = str(caught.value).splitlines()
    start = len(pointer) - len(pointer.lstrip())
    assert line[start:start + len(pointer.strip())] == word


@pytest.mark.parametrize("layer", [
    nn.LayerNorm(4, eps=1e-3), nn.GroupNorm(2, 4, affine=False), nn.InstanceNorm2d(4, eps=1e-3),
    nn.AdaptiveAvgPool2d((None, 3)), nn.StochasticDepth(0.1, "batch"), nn.ScaledTanh(2.0),
    nn.SparseConv2d(((0,), (1,)), 3), nn.Embedding(4, 3), nn.GRU(3, 4),
], ids=repr)
def test_what_no_word_says(layer: nn.Module) -> None:
    with pytest.raises(DescriptionError, match="cannot be written as text"):
        nn.to_text(layer)
