"""A training step taken apart: every kernel with its time, its work and the layers that it serves.

    found = profile(net, (3, 32, 32), batch=64)
    found.kernels[0].seconds, found.kernels[0].origin.layer

Operations are those of products and convolutions, a multiply-add counted as two; of them useful are
those that do not multiply the padding's zeros, which a kernel may leave out: rates and shares count
these alone. Winograd's form needs fewer, so its share of the FMA peak may be above 1. Bytes are
those of the arrays that a kernel reads or writes, each once. What the machine can do at best is
measured too (report/peak.py).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kiso import nn, ops, optim
from kiso.compiler import Graph, Node, optimise
from kiso.compiler.contract.steps import Step
from kiso.compiler.loops import Contract, Kernel, reads
from kiso.nn.summary import multiply_adds
from kiso.report.clock import measure, pinned
from kiso.report.origin import Origin, TracedStep, traced_step
from kiso.report.peak import bandwidth, fma_peak
from kiso.runtime import Executable, compile_graph

__all__ = ["Cost", "KernelCost", "Profile", "profile"]

MOVES = {"BroadcastTo", "Reshape", "Transpose", "Cast"}  # not worth a word about a kernel
WAKE = 0.001  # seconds


@dataclass(frozen=True)
class Cost:
    """Time in seconds, operations, those that are useful, bytes."""

    seconds: float = 0.0
    operations: int = 0
    useful: int = 0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.seconds + other.seconds, self.operations + other.operations,
                    self.useful + other.useful, self.bytes + other.bytes)


@dataclass(frozen=True)
class KernelCost:
    """One kernel. `origin` is what it is counted for, `serves` all that it does a part of."""

    number: int
    work: str  # names of the operations
    form: str  # of a convolution: "" directly, or such as "F(4x4, 3x3)" for Winograd
    shape: tuple[int, ...]  # of the result
    origin: Origin
    serves: tuple[Origin, ...]
    phase: int
    shared: bool  # by all threads, or done by the first one
    once: bool  # before the steps: it depends on nothing that changes; no part of a step's time
    cost: Cost


@dataclass(frozen=True)
class Profile:
    """All that was found. Times in seconds, sizes in bytes, rates for all threads together."""

    layers: tuple[nn.SummaryRow, ...]
    kernels: tuple[KernelCost, ...]
    batch: int
    threads: int
    multiply_adds: int  # of one sample, forward
    step: float
    step_read: float  # while the clock is read around each kernel
    steps: int
    fma_peak: float
    bandwidth: float
    arena_bytes: int
    scratch_bytes: int
    parameter_bytes: int
    state_bytes: int
    phases: int
    trace_seconds: float
    compile_seconds: float
    from_cache: bool

    @property
    def seconds(self) -> float:
        """All kernels together. What the step takes beyond them is waiting at barriers, for the
        slower thread, and the call."""
        return self.cost().seconds

    def cost(self, layer: str | None = None, part: str | None = None) -> Cost:
        """Sum over the kernels of a step that are counted for a layer, a part of it, or all."""
        return sum((k.cost for k in self.kernels if layer in (None, k.origin.layer)
                    and part in (None, k.origin.part) and not k.once), Cost())

    def shares(self, cost: Cost) -> tuple[float, float]:
        """Share of the FMA peak, and of the bandwidth (more than 1: the data are in a cache)."""
        if not cost.seconds:
            return 0.0, 0.0
        return (cost.useful / cost.seconds / self.fma_peak,
                cost.bytes / cost.seconds / self.bandwidth)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON."""
        found = asdict(self)
        found["kernels_seconds"] = self.seconds
        for kernel, row in zip(self.kernels, found["kernels"], strict=True):
            row |= row.pop("cost")
            row["peak_share"], row["bandwidth_share"] = self.shares(kernel.cost)
        return found


def profile(net: nn.Module, shape: tuple[int, ...], batch: int, *, optimizer: str = "adam",
            threads: int | None = None, conv: str | None = None, seconds: float = 1.0) -> Profile:
    """Compile a training step of the net for samples of this shape, run it for about `seconds`,
    and say where its time goes. `conv`: form of convolutions, see `config.conv`.

    Errors: ConfigError for a net that does not end in one score for each class.
    """
    started = time.perf_counter()
    step = traced_step(net, shape, batch, optim.parse_optimizer(optimizer))
    traced = time.perf_counter()
    code = compile_graph(step.graph, threads, state={k: k for k in range(len(step.state))},
                         conv=conv)
    compiled = time.perf_counter()
    fma_peak(code.threads, WAKE)  # from here on the threads are there
    with pinned(code.threads):
        times = measure(code, [code.place(k, x) for k, x in enumerate((*step.state, *step.batch))],
                        seconds)
        rates = fma_peak(code.threads, seconds / 2), bandwidth(code.threads, seconds / 2)
    summary = net.summary(shape)
    return Profile(
        summary.rows, tuple(_kernels(step, code, times.kernels)), batch, code.threads,
        summary.multiply_adds, times.step, times.step_read, times.steps, *rates,
        code.arena_bytes, code.scratch_bytes * code.threads, step.parameters,
        sum(x.nbytes for x in step.state), code.times[-1].phase + 1, traced - started,
        compiled - traced, code.lib.from_cache)


class _Sources:
    """Which nodes of the graph each kernel computes, and where they come from."""

    def __init__(self, step: TracedStep, graph: Graph, kernels: Sequence[Kernel | Contract]):
        self.step = step
        self.kernels = kernels
        self.maker = {n: node for node in graph.nodes for n in node.outputs}
        self.stored = {_number(k) for k in kernels if _stores(k)}
        self.places = {node: i for i, node in enumerate(graph.nodes)}
        self.meant = {n: n for n in range(len(step.graph.specs))} | self.masked(graph)

    def masked(self, graph: Graph) -> dict[int, int]:
        """What the pass `pooled` made of MaxPoolGrad(x, g) * Step(x): the traced value in whose
        place each of its values stands."""
        found: dict[int, int] = {}
        count = len(self.step.graph.specs)
        spread = {(node.op, node.inputs[0]): node.outputs[0] for node in self.step.graph.nodes
                  if isinstance(node.op, ops.MaxPoolGrad)}
        for node in graph.nodes:
            if isinstance(node.op, ops.MaxPoolGrad) and node.inputs[1] >= count:
                (x, g), (y,) = node.inputs, node.outputs
                _, mask = self.maker[g].inputs
                found |= {mask: y, g: y, y: spread.get((node.op, x), y)}
        return found

    def origins(self, n: int) -> list[Origin]:
        """Where value n comes from; none if a pass added it."""
        return [self.step.notes.of(self.meant[n])] if n in self.meant else []

    def nodes(self, n: int) -> list[Node]:
        """The nodes between value n and the values that are stored, in order; none for an input."""
        found: set[Node] = set()
        waiting = [n]
        while waiting:
            node = self.maker.get(waiting.pop())
            if node is not None and node not in found:
                found.add(node)
                waiting += [m for m in node.inputs if m not in self.stored]
        return sorted(found, key=self.places.__getitem__)

    def purpose(self, k: int) -> tuple[Kernel | Contract, int]:
        """The kernel that kernel k is there for, and the traced value that it is named after:
        itself, or the one that reads its result; if nobody does, the one that it copies from."""
        kernel = self.kernels[k]
        n = _number(kernel)
        if n in self.maker and n in self.meant:
            return kernel, n
        after = [j for j in range(k + 1, len(self.kernels))
                 if kernel.buffer in reads(self.kernels[j])]
        if after:
            return self.purpose(after[0])
        before = [j for j in range(k) if self.kernels[j].buffer in reads(kernel)]
        return self.purpose(before[-1]) if before else (kernel, n)


def _stores(kernel: Kernel | Contract) -> bool:
    """Whether a kernel stores the value that it is named after, not a part of the way to it."""
    name = kernel.buffer.name
    return isinstance(kernel, Step) or (
        name.startswith("%") and not name.endswith(" in parts"))


def _number(kernel: Kernel | Contract) -> int:
    """Number of the value that a kernel is named after (%7, or "%7 in parts"); -1 for no name."""
    name = kernel.name.split()[0] if kernel.name else ""
    return int(name[1:]) if name.startswith("%") else -1


def _others(kernel: Kernel | Contract, code: Executable) -> list[int]:
    """Numbers of the further values that a kernel makes; for state, that of its new value."""
    made = (code.plan.carried.get(b, b).name for b in kernel.buffers[1:])
    return [int(name.split()[0][1:]) for name in made if name.startswith("%")]


def _kernels(step: TracedStep, code: Executable, seconds: Sequence[float]) -> list[KernelCost]:
    """What each kernel of the code is for and costs."""
    graph = optimise(step.graph)  # numbered as in the code: the passes always do the same
    kernels = code.program.kernels
    sources = _Sources(step, graph, kernels)
    counted: set[Node] = set()
    found: list[KernelCost] = []
    for k, (kernel, slot) in enumerate(zip(kernels, code.times, strict=True)):
        served, n = sources.purpose(k)
        copies = served is not kernel and not isinstance(kernel, Contract)
        nodes = [node for m in (n, *_others(kernel, code)) for node in sources.nodes(m)]
        new = [node for node in nodes if node not in counted and not copies]
        if isinstance(kernel, Step) and not kernel.operations:
            new = []
        elif _stores(kernel):
            counted.update(new)
        # What is not computed a second time says best what a kernel is for.
        ranked = [*(node for node in nodes if isinstance(served, Contract)
                    and node.op == served.op),
                  *(node for node in new if type(node.op).__name__ not in MOVES), *nodes]
        serves = [origin for node in ranked for origin in sources.origins(node.outputs[0])]
        own = not serves or (copies and not isinstance(served, Contract))
        origin = sources.origins(n)[0] if own else serves[0]
        work = [_operations(graph, node) for node in new if _stores(kernel)]
        arrays = {*reads(kernel), kernel.buffer} - {code.scratch}
        found.append(KernelCost(
            k, "Copy" if copies else _work(kernel, nodes),
            kernel.form if isinstance(kernel, Step) else "", kernel.buffer.shape, origin,
            tuple(dict.fromkeys([origin, *serves])), slot.phase, slot.shared, k < code.once,
            Cost(seconds[k], sum(every for every, _ in work), sum(useful for _, useful in work),
                 sum(b.nbytes for b in arrays))))
    return found


def _operations(graph: Graph, node: Node) -> tuple[int, int]:
    """All of a node, and those that do not multiply the padding's zeros."""
    ins, outs = ([graph.specs[i].shape for i in side] for side in (node.inputs, node.outputs))
    every = 2 * multiply_adds(node.op, ins, outs)
    op: Any = node.op
    if isinstance(op, ops.Conv):
        x, w, y = ins[0], ins[1], outs[0]
    elif isinstance(op, ops.ConvInputGrad):
        x, w, y = outs[0], ins[1], ins[0]
    elif isinstance(op, ops.ConvWeightGrad):
        x, w, y = ins[0], outs[0], ins[1]
    else:
        return every, every
    useful = every
    for size, taps, results, stride, (before, _), dilation in zip(
            x[2:], w[2:], y[2:], op.stride, op.padding, op.dilation, strict=True):
        inside = sum(0 <= o * stride - before + k * dilation < size
                     for o in range(results) for k in range(taps))
        useful = useful * inside // (results * taps)
    return every, useful


def _work(kernel: Kernel | Contract, nodes: Sequence[Node]) -> str:
    """What a kernel does, in names of operations."""
    if isinstance(kernel, Step):
        helper = " pack" if kernel.buffer.name == "packed" else " sum"
        return " ".join([type(kernel.op).__name__, *kernel.after]) if kernel.operations else \
            type(kernel.op).__name__ + helper
    names = dict.fromkeys(type(node.op).__name__ for node in nodes)
    return " ".join(name for name in names if name not in MOVES) or "Copy"
