"""The words for layers, as the help tells of them."""

from __future__ import annotations

from kiso.text import tr

__all__ = ["layer_words"]


def layer_words() -> list[tuple[str, str]]:
    """How a model is written in words; kiso/nn/describe.py has the whole grammar."""
    return [
        ("conv30k5s2p1", tr("convolution: 30 filters of 5x5, stride 2, padding 1; conv30 is 3x3 "
                            "and keeps the size")),
        ("pool2, avgpool2", tr("maximum and average pooling; gap: mean over the whole map")),
        ("convt32, upsample2", tr("maps twice as large, by learnt filters or by repetition")),
        ("sepconv64, local8k3", tr("depthwise separable convolution; filters of their own at each "
                                   "place")),
        ("linear100", tr("dense layer of 100 units")),
        ("relu, sigmoid, ...", tr("activations: also tanh, leakyrelu0.1, elu, gelu, silu, "
                                  "softplus")),
        ("bn, dropout0.5", tr("batch normalisation, dropout")),
        ("ln, gn8, in, lrn5", tr("layer, group, instance and local response normalisation")),
        ("se, stochdepth0.1", tr("squeeze-and-excitation, stochastic depth")),
        ("flatten", tr("maps to one row; linear does it by itself")),
        ("{conv64 bn relu} x3", tr("the group three times")),
        ("res(conv16 bn relu)", tr("residual block: the input is added to the output")),
        ("cat(A | B), add(A | B)", tr("side by side, joined or added")),
    ]
