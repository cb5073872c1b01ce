"""Net-1 ... Net-5 of LeCun 1989 on digits of 16x16 pixels: what structure is worth.

    python examples/lenet1989.py [FOLDER]        FOLDER (or KISO_DATA) holds semeion/semeion.csv

The paper's 480 pictures are not public. For each seed 320 pictures to learn from and 160 for the
test are drawn from Semeion's 1593 instead, so figures cannot equal the paper's; their order can.
"""

import os
import sys

import numpy as np

import kiso
from kiso import autograd, data, models, nn, ops, optim
from kiso.models.lenet1989 import FIGURES

SEEDS, EPOCHS, BATCH, RATE = 20, 60, 10, 0.002  # the same for all nets
folder = sys.argv[1] if len(sys.argv) > 1 else os.environ["KISO_DATA"]
table = np.loadtxt(f"{folder}/semeion/semeion.csv", np.float32, delimiter=",", skiprows=1)
labels, pictures = table[:, 0].astype(int), table[:, 1:].reshape(-1, 1, 16, 16)
targets = 2 * np.eye(10, dtype=np.float32) - 1
rule = optim.SGD(momentum=0.9)


def deal(seed):
    """Rows of 320 and 160 pictures, as many of each class."""
    mixed = np.random.default_rng(seed).permutation(len(labels))
    rows = np.array([mixed[labels[mixed] == k][:48] for k in range(10)])
    return rows[:, :32].ravel(), rows[:, 32:].ravel()


def results(name):
    """% right in the test, for each seed."""
    net = models.build(name)

    @kiso.compile
    def step(params, slots, lr, x, target):
        def loss_of(p):  # the paper's: squared distances to 1 for the class, -1 for the others
            return ops.mse_loss(nn.functional_call(net, p, {}, x)[0], target) * 10, None

        loss, g, _ = autograd.value_and_grad(loss_of, params)
        return rule.apply(params, g, slots, lr=lr, t=np.float32(1), loss=loss)

    for seed in range(SEEDS):
        kiso.manual_seed(seed)
        params = {n: p.data for n, p in models.build(name).named_parameters()}
        slots, (train, test) = rule.init_slots(params), deal(seed)
        for epoch in range(EPOCHS):
            lr = np.float32(RATE * (1 - epoch / EPOCHS))
            for rows in (train[b] for b in data.batches(320, BATCH, seed=seed, epoch=epoch)):
                params, slots = step(params, slots, lr, pictures[rows], targets[labels[rows]])
        answers = nn.functional_call(net, params, {}, pictures[test])[0].data.argmax(1)
        yield 100 * np.mean(answers == labels[test])


print(f"% right in the test, {SEEDS} seeds\nnet    weights  links  here  spread  paper")
for i, (weights, links, paper) in FIGURES.items():
    found = list(results(f"lenet1989_{i}"))
    print(f"Net-{i}  {weights:7}  {links:5}  {np.mean(found):4.1f}  {np.std(found):6.1f}  {paper}")
