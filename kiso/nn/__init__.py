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
    ScaledTanh,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Step,
    Tanh,
)
from kiso.nn.attention import MultiheadAttention
from kiso.nn.auxiliary import Outputs, outputs_of, weighted_loss
from kiso.nn.blocks import SeparableConv2d, SqueezeExcitation
from kiso.nn.container import Parallel, Residual, Sequential, split_softmax
from kiso.nn.conv import Conv1d, Conv2d, Conv3d
from kiso.nn.conv_transpose import (
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from kiso.nn.describe import from_text, to_text
from kiso.nn.dropout import (
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    StochasticDepth,
)
from kiso.nn.embedding import Embedding
from kiso.nn.functional import functional_call
from kiso.nn.lenet import LENET5_C3, SparseConv2d, Subsampling2d
from kiso.nn.linear import Linear
from kiso.nn.local import LocallyConnected1d, LocallyConnected2d, UntiedConv2d
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
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
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
from kiso.nn.recurrent import GRUCell, LSTMCell, RNNCell
from kiso.nn.reshaping import Flatten, Identity, Im2Col, Pad, Reshape
from kiso.nn.rng import manual_seed, random_key, seeded
from kiso.nn.sequence import GRU, LSTM, RNN
from kiso.nn.standardize import (
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    LocalResponseNorm,
)
from kiso.nn.summary import Summary, SummaryRow
from kiso.nn.upsample import PixelShuffle, PixelUnshuffle, Upsample
from kiso.nn.watching import watch
from kiso.nn.whiten import Whiten2d

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LENET5_C3",
    "LSTM",
    "RNN",
    "Activation",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
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
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HuberLoss",
    "Identity",
    "Im2Col",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "KLDivLoss",
    "L1Loss",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LocallyConnected1d",
    "LocallyConnected2d",
    "LogSoftmax",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Module",
    "MultiheadAttention",
    "NLLLoss",
    "Outputs",
    "Pad",
    "Parallel",
    "Parameter",
    "PixelShuffle",
    "PixelUnshuffle",
    "RNNCell",
    "ReLU",
    "ReLU6",
    "Reshape",
    "Residual",
    "ScaledTanh",
    "SeparableConv2d",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SparseConv2d",
    "SqueezeExcitation",
    "Step",
    "StochasticDepth",
    "Subsampling2d",
    "Summary",
    "SummaryRow",
    "Tanh",
    "UntiedConv2d",
    "Upsample",
    "Whiten2d",
    "from_text",
    "functional_call",
    "init",
    "manual_seed",
    "output_shape",
    "outputs_of",
    "random_key",
    "seeded",
    "split_softmax",
    "to_text",
    "watch",
    "weighted_loss",
]
