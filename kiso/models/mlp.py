"""Nets of dense layers: for tables, and the book's first nets for images."""

from __future__ import annotations

from kiso import nn
from kiso.errors import ConfigError
from kiso.models.base import Card, text_net
from kiso.text import tr

__all__ = ["linear_text", "mlp", "mlp_text", "tabular", "tabular_text"]


def mlp(in_features: int, *sizes: int, activation: str = "relu") -> nn.Sequential:
    """Multi-layer perceptron: `mlp(784, 100, 10)` has 784 inputs, 100 hidden units, 10 outputs.

    Any number of hidden layers, each followed by the activation (a word of `nn.from_text`); none
    after the last. Errors: ConfigError without an output size.
    """
    if not sizes:
        raise ConfigError(f"mlp({in_features}): expected the sizes of the layers after the input, "
                          "for example mlp(784, 100, 10).")
    words = [f"linear{n}" for n in sizes]
    return nn.from_text(f" {activation} ".join(words), (in_features,))


def mlp_text(input_shape: tuple[int, ...]) -> str:
    """One hidden layer of 100 units, the usual first net for MNIST."""
    return "flatten linear100 relu linear" if len(input_shape) > 1 else "linear100 relu linear"


def linear_text(input_shape: tuple[int, ...]) -> str:
    """No hidden layer: linear regression, or logistic regression with softmax in the loss."""
    return "flatten linear" if len(input_shape) > 1 else "linear"


def tabular_text(input_shape: tuple[int, ...]) -> str:
    """Two hidden layers of 64 units for tables of numbers and one-hot categories."""
    head = "flatten " if len(input_shape) > 1 else ""
    return f"{head}linear64 relu linear64 relu linear"


def tabular(in_features: int, out_features: int) -> nn.Sequential:
    """Net for CSV tables: two hidden layers of 64 units."""
    return nn.from_text(tabular_text((in_features,)), (in_features,), out_features)


def card(name: str) -> Card:
    """The card of each of the three."""
    structure = {"linear": tr("One dense layer."),
                 "mlp": tr("A hidden layer of 100 units with ReLU, one dense layer."),
                 "tabular": tr("Two hidden layers of 64 units with ReLU, one dense layer.")}
    task = tr("Tables of numbers and categories: classes or values.") if name == "tabular" else \
        tr("A first net for anything: classes or values.")
    return Card(0, "Kiso", task, structure[name])


text_net("linear", linear_text, card, (1, 28, 28))
text_net("mlp", mlp_text, card, (1, 28, 28))
text_net("tabular", tabular_text, card, (13,))
