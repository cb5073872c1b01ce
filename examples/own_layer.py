"""A layer of one's own, in ten lines, inside a network that learns to read digits.

The layer says what comes out, in ops; gradients, parameter names, checkpoints and the compiled
graph follow from that. Run it: python examples/own_layer.py
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from kiso import nn, ops, optim
from kiso.autograd import no_grad


class Swish(nn.Module):
    """y = x sigmoid(b x): between a straight line (b = 0) and ReLU (b large); b is learned."""

    b: nn.Parameter

    def __init__(self, features: int):
        self.b = nn.Parameter(np.ones(features))

    def forward(self, x):
        return x * ops.sigmoid(self.b * x)


def main(epochs: int = 10) -> float:
    """Train on 70 % of the 8x8 digits; returns the share of the rest that is read rightly."""
    nn.manual_seed(0)
    digits = load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target
    rows = np.random.default_rng(0).permutation(len(x))
    train, test = np.split(rows, [int(0.7 * len(rows))])

    model = nn.Sequential(nn.Linear(64, 64), Swish(64), nn.Linear(64, 10))
    loss_of, optimizer = nn.CrossEntropyLoss(), optim.Adam(lr=0.01).bind(model)
    for epoch in range(epochs):
        np.random.default_rng([1, epoch]).shuffle(train)
        for batch in np.array_split(train, len(train) // 50):
            loss = loss_of(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with no_grad():
            accuracy = float(np.mean(model(x[test]).argmax(1).numpy() == y[test]))
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, test accuracy {accuracy:.3f}")
    low, high = float(model[1].b.min()), float(model[1].b.max())
    print(f"{model}\nb was 1 everywhere and is now from {low:.2f} to {high:.2f}")
    return accuracy


if __name__ == "__main__":
    main()
