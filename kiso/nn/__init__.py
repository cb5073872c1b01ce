"""Layers and nets: `Module`, the layers, first weights, nets from text.

Stands on `ops` and `autograd`; `models` and `train` stand on it. Read module, linear, container,
describe; the rest is one small file for each family of layers.
"""

from kiso.nn import init
from kiso.nn.activation import (
    ELU,
    GELU,
    Activation,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Step,
    Tanh,
)
from kiso.nn.container import Parallel, Residual, Sequential, split_softmax
from kiso.nn.conv import Conv1d, Conv2d, Conv3d
from kiso.nn.describe import from_text, to_text
from kiso.nn.dropout import Dropout
from kiso.nn.functional import functional_call
from kiso.nn.linear import Linear
from kiso.nn.loss import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
)
from kiso.nn.module import Module
from kiso.nn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from kiso.nn.parameter import Buffer, Parameter
from kiso.nn.pool import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from kiso.nn.probe import output_shape
from kiso.nn.reshaping import Flatten, Identity, Im2Col, Pad, Reshape
from kiso.nn.rng import manual_seed, random_key, seeded
from kiso.nn.summary import Summary, SummaryRow
from kiso.nn.watching import watch

__all__ = [
    "ELU",
    "GELU",
    "Activation",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Buffer",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "CrossEntropyLoss",
    "Dropout",
    "Flatten",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "Im2Col",
    "KLDivLoss",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Module",
    "NLLLoss",
    "Pad",
    "Parallel",
    "Parameter",
    "ReLU",
    "ReLU6",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "Summary",
    "SummaryRow",
    "Tanh",
    "from_text",
    "functional_call",
    "init",
    "manual_seed",
    "output_shape",
    "random_key",
    "seeded",
    "split_softmax",
    "to_text",
    "watch",
]
