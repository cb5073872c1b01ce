"""Where values lie: nothing that is alive together overlaps, and little is wasted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.nets import NETS, samples
from kiso import nn, ops, optim
from kiso.autograd import value_and_grad
from kiso.compiler import trace
from kiso.compiler.inplace import settle
from kiso.compiler.loops import Program, reads
from kiso.compiler.passes import optimise
from kiso.compiler.plan import Plan, plan
from kiso.runtime.memory import ALIGNMENT, arrange, size
from kiso.train.step import initial_state
from kiso.tree import flatten_tree
from tests.train.test_step import whole_step


def planned(name: str) -> tuple[Plan, Program]:
    """A step of SGD with momentum for a net of the benchmarks, not compiled."""
    net, rule = NETS[name], optim.SGD(lr=0.01, momentum=0.9)
    model = net.build()

    def step(state: Any, x: Any, y: Any, key: Any) -> Any:
        def loss(params: Any) -> tuple[Any, Any]:
            output, buffers = nn.functional_call(model, params, state["buffers"], x, key=key,
                                                 training=True)
            return ops.cross_entropy(output, y), buffers

        value, grads, buffers = value_and_grad(loss, state["params"])
        params, slots = rule.apply(state["params"], grads, state["slots"], lr=np.float32(0.01),
                                   t=state["t"] + 1)
        return {**state, "params": params, "slots": slots, "buffers": buffers}, value

    state = initial_state(model, rule)
    graph = trace(step, state, *samples(net), ops.make_key(0, 0)).graph
    count = len(flatten_tree(state)[0])
    found = plan(optimise(graph), contracts=True, state={k: k for k in range(count)})
    return found, settle(found.program, found.carried, found.results)


def whole(rule: str) -> tuple[Plan, Program]:
    step, state, batches = whole_step(rule)
    graph = trace(step.train, state, batches[0]).graph
    count = len(flatten_tree(state)[0])
    found = plan(optimise(graph), contracts=True, state={k: k for k in range(count)})
    return found, settle(found.program, found.carried, found.results)


def check_order(found: Plan, program: Program) -> None:
    """Each kernel reads what is there, and old state only before it is replaced."""
    there = {*found.inputs, *found.constants}
    assert all(not any(b not in there for b in reads(k)) and not there.update(k.buffers)
               for k in program.kernels)
    state = [i for i, k in enumerate(program.kernels) if k.buffer in found.carried]
    makers = [i for i, k in enumerate(program.kernels) if k.buffer in found.results]
    assert max(makers, default=-1) < min(state)


@pytest.mark.parametrize("name", ["momentum", "adam", "deepconv", "resnet20", "resnet18_224"])
def test_places(name: str) -> None:
    found, program = planned(name) if name in NETS else whole(name)
    check_order(found, program)
    phases = [i // 2 for i in range(len(program.kernels))]
    outside = {*found.inputs, *found.constants, *found.results}
    place, length = arrange(program, phases, outside)
    alive: list[set[Any]] = [set() for _ in range(phases[-1] + 1)]
    for b in place:
        uses = [p for p, k in zip(phases, program.kernels, strict=True)
                if b in (*k.buffers, *reads(k))]
        for phase in range(uses[0], uses[-1] + 1):
            alive[phase].add(b)
    for together in alive:
        end = 0
        for b in sorted(together, key=lambda b: place[b]):
            assert place[b] >= end and place[b] % ALIGNMENT == 0
            end = place[b] + size(b)
        assert end <= length
    assert length <= 1.1 * max(sum(map(size, together)) for together in alive)


def test_large_gradients_are_not_kept() -> None:
    """Of resnet18_224 (45 MB of weights) few gradients are alive at once."""
    found, program = planned("resnet18_224")
    weights = {b.shape for b in found.carried if len(b.shape) == 4}
    first = next(i for i, k in enumerate(program.kernels) if k.buffer in found.carried)
    assert first < len(program.kernels) * 0.7
    alive, most = 0, 0
    last = {b: i for i, k in enumerate(program.kernels) for b in reads(k)}
    ends: dict[int, int] = {}
    for i, k in enumerate(program.kernels):
        if k.buffer.shape in weights and k.buffer not in found.carried:
            alive += size(k.buffer)
            ends[last[k.buffer]] = ends.get(last[k.buffer], 0) + size(k.buffer)
        most = max(most, alive)
        alive -= ends.get(i, 0)
    assert 0 < most < 12e6
