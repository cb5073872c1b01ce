"""Gradients by backpropagation: `Tensor`, the tape, and the gradient check.

Stands on `ops`; `nn` and `optim` stand on it.
"""

from kiso.autograd.check import GradientReport, gradcheck, numeric_gradient
from kiso.autograd.tensor import Tensor, backpropagate, grad, no_grad, value_and_grad

__all__ = [
    "GradientReport",
    "Tensor",
    "backpropagate",
    "grad",
    "gradcheck",
    "no_grad",
    "numeric_gradient",
    "value_and_grad",
]
