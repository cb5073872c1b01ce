"""`kiso show`: what the compiler makes of a model, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from kiso import config, nn, ops
from kiso.autograd import no_grad, value_and_grad
from kiso.cli.listing import program_text
from kiso.cli.look import model_of
from kiso.cli.output import Output
from kiso.compiler import Graph, optimise, trace
from kiso.compiler.contract import Driver, Machine
from kiso.compiler.contract.steps import Source, Step, expand
from kiso.compiler.loops import Program
from kiso.compiler.plan import plan
from kiso.errors import ConfigError
from kiso.runtime import compile_graph, target
from kiso.runtime.measured import form
from kiso.runtime.work import constant
from kiso.text import tr
from kiso.train.options import check_choice

__all__ = ["STAGES", "show"]

STAGES = ("graph", "passes", "kernels", "llvm", "asm")


def graph_of(net: nn.Module, shape: tuple[int, ...], batch: int, gradients: bool) -> Graph:
    """The net's inference, or its loss with all gradients, as a graph."""
    x = np.zeros((batch, *shape), np.float32)
    params = {name: p.data for name, p in net.named_parameters()}
    buffers = {name: b.data for name, b in net.named_buffers()}
    scores = nn.split_softmax(net)[0] if gradients else net

    def infer(params: Any, buffers: Any, x: Any) -> Any:
        with no_grad():
            return nn.functional_call(scores, params, buffers, x)[0].data

    def learn(params: Any, buffers: Any, x: Any, y: Any, key: Any) -> Any:
        def loss(p: Any) -> tuple[Any, Any]:
            output, new = nn.functional_call(scores, p, buffers, x, key=key, training=True)
            return nn.weighted_loss(output, lambda found: ops.cross_entropy(found, y)), new
        return value_and_grad(loss, params)

    if not gradients:
        return trace(infer, params, buffers, x).graph
    if len(net.summary(shape).output_shape) != 1:
        raise ConfigError(tr("--gradients needs a model that ends in one score for each class; "
                             "end it with linear10."))
    return trace(learn, params, buffers, x, np.zeros(batch, np.int64), ops.make_key(0, 0)).graph


def formed(graph: Graph, conv: str | None, state: Mapping[int, None]) -> str:
    """The convolutions that are computed in another form than their formula says, with it."""
    found, to = plan(graph, contracts=True, state=state), target()
    program = found.program

    def written(_: str, write: Callable[[], Source]) -> tuple[tuple[Driver, ...], int]:
        source = write()
        return source.drivers, source.size

    machine = Machine(to.vector_bytes // 4, to.registers)
    steps = expand(program, machine, written, form(conv, to, config.num_threads()),
                   constant(found, program.kernels)).program.kernels
    forms = {step.name: step.form for step in steps if isinstance(step, Step) and step.form}
    return program_text(Program([k for k in program.kernels if k.name in forms]), forms)


def show(output: Output, model: str, input: tuple[int, ...] | None = None, stage: str = "graph",
         batch: int = 1, outputs: int | None = None, gradients: bool = False,
         conv: str | None = None) -> int:
    """Print one stage: the traced graph, the graph after all passes, the kernels as formulas and
    Winograd's convolutions, the IR that LLVM gets, or the machine's instructions."""
    check_choice("--stage", stage, STAGES)
    net, input = model_of(model, input, outputs)
    graph = graph_of(net, input, batch, gradients)
    state = {} if gradients else dict.fromkeys(range(len(graph.inputs) - 1))  # the weights stay
    if stage != "graph":
        graph = optimise(replace(graph, lasting=frozenset(graph.inputs[k] for k in state)))
    text = str(graph)
    if stage == "kernels":
        texts = program_text(plan(graph).program), formed(graph, conv, state)
        text = "\n\n".join(filter(None, texts))
    elif stage in ("llvm", "asm"):
        library = compile_graph(graph, state=state, conv=conv).lib
        text = library.text if stage == "llvm" else library.assembly()
    if not output.json:
        output.raw(text + "\n")
    output.document({"model": model, "stage": stage, "nodes": len(graph.nodes), "text": text})
    return 0
