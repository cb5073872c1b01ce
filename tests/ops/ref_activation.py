"""Expected values of the activation functions, from SciPy or by plain Python case by case."""

import math

import numpy as np
import scipy.special as sp
import scipy.stats


def each(f):
    """Reference that applies a scalar function to every element."""
    def reference(op, arrays):
        (x,) = arrays
        return np.array([f(op, v) for v in x.ravel().tolist()], np.float64).reshape(x.shape)
    return reference


def hard_sigmoid(x):
    return 0.0 if x <= -3 else 1.0 if x >= 3 else x / 6 + 0.5


def gelu_tanh(op, x):
    return x / (1 + math.exp(-2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


REFERENCES = {
    "Step": lambda op, arrays: np.heaviside(arrays[0], 0.0),
    "Sigmoid": lambda op, arrays: sp.expit(arrays[0]),
    "Tanh": lambda op, arrays: 2 * sp.expit(2 * arrays[0]) - 1,
    "Relu": lambda op, arrays: (arrays[0] + np.abs(arrays[0])) / 2,
    "LeakyRelu": each(lambda op, x: x if x > 0 else op.slope * x),
    "Elu": each(lambda op, x: x if x > 0 else op.alpha * (math.exp(x) - 1)),
    "Gelu": lambda op, arrays: arrays[0] * scipy.stats.norm.cdf(arrays[0]),
    "GeluTanh": each(lambda op, x: gelu_tanh(op, x) if x > -20 else 0.0),
    "Silu": lambda op, arrays: arrays[0] * sp.expit(arrays[0]),
    "Softplus": lambda op, arrays: np.logaddexp(arrays[0], 0),
    "HardTanh": each(lambda op, x: op.low if x < op.low else op.high if x > op.high else x),
    "HardSigmoid": each(lambda op, x: hard_sigmoid(x)),
    "HardSwish": each(lambda op, x: x * hard_sigmoid(x)),
    "Erf": lambda op, arrays: sp.erf(arrays[0]),
}
