"""A three-layer net on handwritten digits, trained by mini-batch SGD written out. Edit and run me.

    python examples/three_layers.py            # 8x8 digits, nothing to download
    python examples/three_layers.py mnist      # 28x28 digits, looked up in KISO_DATA
"""

import sys

import numpy as np

from kiso import Tensor, data, manual_seed, nn, no_grad, ops

name = sys.argv[1] if len(sys.argv) > 1 else "digits"
epochs, batch_size, learning_rate = 10, 100, 0.5

splits = data.load(name, seed=0)
scale = data.Normalizer.fit(splits.train)
x_train, t_train = scale.apply(splits.train.x).reshape(len(splits.train), -1), splits.train.y
x_test, t_test = scale.apply(splits.test.x).reshape(len(splits.test), -1), splits.test.y

manual_seed(0)
net = nn.Sequential(nn.Linear(x_train.shape[1], 100), nn.Sigmoid(),
                    nn.Linear(100, 50), nn.Sigmoid(), nn.Linear(50, 10))


def accuracy(x, t):
    """Share of right answers."""
    with no_grad():
        return float(np.mean(net(Tensor(x)).data.argmax(1) == t))


for epoch in range(epochs):
    for rows in data.batches(len(x_train), batch_size, seed=0, epoch=epoch):
        loss = ops.cross_entropy(net(Tensor(x_train[rows])), t_train[rows])
        net.zero_grad()
        loss.backward()
        for p in net.parameters():
            p.data = p.data - learning_rate * p.grad.data
    print(f"epoch {epoch + 1}: loss {loss.item():.3f}, accuracy {accuracy(x_test, t_test):.3f}")
