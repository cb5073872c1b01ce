"""The textbook: every operation with its formula, shape rule, forward and backward, in NumPy.

Read the files in this order: op (what an op is), arithmetic, elementwise, activation, reduce,
softmax, matmul, shape, index, im2col, conv, winograd, pool, norm, random, loss; then those made of
them: conv_transpose, local, standardize, banded, interpolate, pixels, attention. Nothing here
imports from the rest of Kiso but the errors. Ops are classes (`Conv`), called through functions
(`conv2d`).
"""

from kiso.ops.activation import (
    Elu, Gelu, GeluTanh, HardSigmoid, HardSwish, HardTanh, LeakyRelu, Relu, Sigmoid, Silu,
    Softplus, Step, Tanh, elu, gelu, hardsigmoid, hardswish, hardtanh, identity, leaky_relu,
    relu, relu6, scaled_tanh, sigmoid, silu, softplus, step, tanh,
)
from kiso.ops.arithmetic import Add, Div, Mul, Neg, Pow, Power, Sub, add, div, mul, neg, pow, sub
from kiso.ops.attention import attention_weights, causal_mask, scaled_dot_product_attention
from kiso.ops.banded import Banded, band, banded
from kiso.ops.broadcast import BroadcastTo, SumTo, broadcast_shapes, broadcast_to, sum_to
from kiso.ops.compare import (
    Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual, equal, greater, greater_equal,
    less, less_equal, not_equal,
)
from kiso.ops.conv import Conv, ConvInputGrad, ConvWeightGrad, conv1d, conv2d, conv3d
from kiso.ops.conv_transpose import (
    conv_transpose1d, conv_transpose2d, conv_transpose3d, transposed_sizes,
)
from kiso.ops.elementwise import (
    Abs, Cast, Clip, Cos, Exp, Expm1, Floor, Log, Log1p, Maximum, Minimum, Sign, Sin, Sqrt,
    Where, abs, cast, clip, cos, exp, expm1, floor, log, log1p, maximum, minimum, sign, sin,
    sqrt, where,
)
from kiso.ops.im2col import (
    Col2Im, Im2Col, Padding, Pads, add_windows, col2im, cropped, im2col, out_size, out_sizes,
    padded, padding_pairs, per_axis, windows,
)
from kiso.ops.index import (
    OneHot, Take, TakeAlong, TakeAlongGrad, TakeGrad, one_hot, take, take_along,
)
from kiso.ops.interpolate import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, interpolate,
)
from kiso.ops.local import locally_connected
from kiso.ops.loss import (
    BinaryCrossEntropy, SoftmaxCrossEntropy, binary_cross_entropy_with_logits, cross_entropy,
    huber_loss, kl_div, l1_loss, mse_loss, nll_loss,
)
from kiso.ops.matmul import MatMul, matmul, swap_last
from kiso.ops.norm import BatchNorm, BatchNormInference, batch_norm
from kiso.ops.op import REGISTRY, Array, Op, Shape, Value, as_array, shape_of
from kiso.ops.pixels import pixel_shuffle, pixel_unshuffle
from kiso.ops.pool import (
    AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad, MaxPoolPick, avg_pool1d, avg_pool2d, avg_pool3d,
    global_avg_pool, global_max_pool, max_pool1d, max_pool2d, max_pool3d,
)
from kiso.ops.random import (
    Dropout, Uniform, UniformRows, bernoulli, dropout, make_key, normal, philox, uniform,
    uniform_rows,
)
from kiso.ops.reduce import (
    ArgMax, ArgMin, LogSumExp, Max, Mean, Min, Sum, Var, argmax, argmin, logsumexp, max, mean,
    min, sum, var,
)
from kiso.ops.resample import AffineSample, AffineSampleGrad, affine_sample
from kiso.ops.sample import Draw, Given, Sample
from kiso.ops.shape import (
    Concat, Flip, Pad, Reshape, Slice, SliceGrad, Transpose, concat, expand_dims, flatten, flip,
    getitem, pad, reshape, slice_, stack, transpose,
)
from kiso.ops.softmax import LogSoftmax, Softmax, log_softmax, softmax
from kiso.ops.special import Erf, erf, erf_array
from kiso.ops.standardize import (
    group_norm, instance_norm, layer_norm, local_response_norm,
)
from kiso.ops.winograd import (
    toom_cook_matrices, winograd_conv, winograd_conv_input_grad, winograd_conv_weight_grad,
    winograd_matrices,
)

__all__ = [
    "REGISTRY", "Abs", "Add", "AffineSample", "AffineSampleGrad", "ArgMax", "ArgMin", "Array",
    "AvgPool", "AvgPoolGrad", "Banded", "BatchNorm", "BatchNormInference", "BinaryCrossEntropy",
    "BroadcastTo", "Cast", "Clip", "Col2Im", "Concat", "Conv", "ConvInputGrad",
    "ConvWeightGrad", "Cos", "Div", "Draw", "Dropout", "Elu", "Equal", "Erf", "Exp", "Expm1",
    "Flip", "Floor", "Gelu", "GeluTanh", "Given", "Greater", "GreaterEqual", "HardSigmoid",
    "HardSwish", "HardTanh", "Im2Col", "LeakyRelu", "Less", "LessEqual", "Log", "Log1p",
    "LogSoftmax", "LogSumExp", "MatMul", "Max", "MaxPool", "MaxPoolGrad", "MaxPoolPick",
    "Maximum", "Mean", "Min", "Minimum", "Mul", "Neg", "NotEqual", "OneHot", "Op", "Pad",
    "Padding", "Pads", "Pow", "Power", "Relu", "Reshape", "Sample", "Shape", "Sigmoid", "Sign",
    "Silu", "Sin", "Slice", "SliceGrad", "Softmax", "SoftmaxCrossEntropy", "Softplus", "Sqrt",
    "Step", "Sub", "Sum", "SumTo", "Take", "TakeAlong", "TakeAlongGrad", "TakeGrad", "Tanh",
    "Transpose", "Uniform", "UniformRows", "Value", "Var", "Where", "abs",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "add", "add_windows",
    "affine_sample", "argmax", "argmin", "as_array", "attention_weights", "avg_pool1d",
    "avg_pool2d", "avg_pool3d", "band", "banded", "batch_norm", "bernoulli",
    "binary_cross_entropy_with_logits", "broadcast_shapes", "broadcast_to", "cast",
    "causal_mask", "clip", "col2im", "concat", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "cos", "cropped", "cross_entropy", "div", "dropout",
    "elu", "equal", "erf", "erf_array", "exp", "expand_dims", "expm1", "flatten", "flip",
    "floor", "gelu", "getitem", "global_avg_pool", "global_max_pool", "greater",
    "greater_equal", "group_norm", "hardsigmoid", "hardswish", "hardtanh", "huber_loss",
    "identity", "im2col", "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm",
    "leaky_relu", "less", "less_equal", "local_response_norm", "locally_connected", "log",
    "log1p", "log_softmax", "logsumexp", "make_key", "matmul", "max", "max_pool1d",
    "max_pool2d", "max_pool3d", "maximum", "mean", "min", "minimum", "mse_loss", "mul", "neg",
    "nll_loss", "normal", "not_equal", "one_hot", "out_size", "out_sizes", "pad", "padded",
    "padding_pairs", "per_axis", "philox", "pixel_shuffle", "pixel_unshuffle", "pow", "relu",
    "relu6", "reshape", "scaled_dot_product_attention", "scaled_tanh", "shape_of", "sigmoid",
    "sign", "silu", "sin", "slice_", "softmax", "softplus", "sqrt", "stack", "step", "sub",
    "sum", "sum_to", "swap_last", "take", "take_along", "tanh", "toom_cook_matrices",
    "transpose", "transposed_sizes", "uniform", "uniform_rows", "var", "where", "windows",
    "winograd_conv", "winograd_conv_input_grad", "winograd_conv_weight_grad",
    "winograd_matrices",
]
