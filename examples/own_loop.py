"""A training loop of one's own as machine code: gradients, clipping and Adam in one function.

    python examples/own_loop.py
"""

import numpy as np

import kiso
from kiso import data, nn, ops, optim
from kiso.autograd import value_and_grad

splits = data.load("digits", seed=0)
scale = data.Normalizer.fit(splits.train)
x_train, t_train = scale.apply(splits.train.x), splits.train.y
x_test, t_test = scale.apply(splits.test.x), splits.test.y

kiso.manual_seed(0)
net = nn.from_text("conv16k3p1 relu pool2 conv32k3p1 relu flatten linear10", (1, 8, 8))
rule = optim.Adam(clip_norm=1.0)


@kiso.compile
def step(params, slots, t, lr, x, target):
    """One update; runs as one piece of machine code."""

    def loss_of(p):
        y, _ = nn.functional_call(net, p, {}, x, training=True)
        return ops.cross_entropy(y, target), None

    loss, grads, _ = value_and_grad(loss_of, params)
    params, slots = rule.apply(params, grads, slots, lr=lr, t=t, loss=loss)
    return params, slots, loss


params = {name: p.data for name, p in net.named_parameters()}
slots = rule.init_slots(params)
t = 0
for epoch in range(10):
    for rows in data.batches(len(x_train), 50, seed=0, epoch=epoch):
        if len(rows) == 50:  # the last batch is smaller; it would be compiled for itself
            t += 1
            params, slots, loss = step(params, slots, np.float32(t), np.float32(0.003),
                                       x_train[rows], t_train[rows])
    for name, p in net.named_parameters():
        p.data = params[name]
    answers = kiso.compile(net)(x_test).data.argmax(1) if epoch == 9 else None
    print(f"epoch {epoch + 1}: loss {float(loss):.3f}")
print(f"test accuracy {np.mean(answers == t_test):.3f}")
