"""Running a step: line by line in NumPy, as a recorded graph, or as machine code.

An engine holds the state of a run and changes it step by step:

    engine = ENGINES["compiled"](step, threads)
    engine.load(initial_state(model, rule))
    found = engine.train(train, {"rows": (k, N), "lr": (k,), "key": (k, 4), "epoch_key": (4,)})
    engine.evaluate(x, y)              {"output": ..., "loss": ..., "score": ...} of each sample
    engine.state()                     as arrays that nothing changes any more

    eager      the reference: every line can be stopped at in a debugger; the state is replaced
    traced     the step as a graph, recorded once for each combination of shapes; the same bits
    compiled   that graph as machine code: the state stays in memory as the code wants it, the data
               set lies beside it, and one call runs many steps; the same numbers to rounding
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from kiso import config
from kiso.compiler import Graph, optimise, trace
from kiso.data import Dataset
from kiso.ops.op import Array
from kiso.train.limits import check_memory
from kiso.train.shield import Shield
from kiso.train.step import Batch, State, Step
from kiso.train.tasks import BATCH
from kiso.tree import flatten_tree, unflatten_tree

if TYPE_CHECKING:
    from kiso.runtime import Executable, Kept

__all__ = ["ENGINES", "Engine", "Found", "usable"]

EVALUATION_NUMBERS = 1 << 20  # in one batch: pictures that are large come in smaller batches
REUSED, REUSED_BYTES = 8, 64 << 20  # codes that are kept, and the memory of each at most
CALL_SECONDS = 0.15  # most time in machine code before Python, and Ctrl-C, has its turn


@dataclass(frozen=True)
class Found:
    """What some steps gave: sums over each batch (steps,). `done`: how many changed the state; the
    next one did not, because its loss or gradient norm is no number."""

    loss: Array
    score: Array
    gradient_norm: Array
    done: int


class Engine:
    """Line by line."""

    def __init__(self, step: Step, threads: int | None = None, conv: str | None = None):
        self.step = step
        self.threads = threads
        self.conv = conv
        self.seconds_compile = 0.0
        self.lock = threading.Lock()  # for those who load a state only to evaluate it
        self.load({})

    def load(self, state: State) -> None:
        """Take up a state; its arrays are not changed."""
        self.now = state

    def state(self) -> State:
        """The present state, in arrays that nothing changes any more."""
        return self.now

    def part(self, kind: str, name: str) -> Array:
        """One of the arrays of the present state; kind is "params" or "buffers"."""
        return self.now[kind][name]

    def count(self, most: int, samples: int) -> int:
        """How many steps with so many samples the next call should take."""
        return 1

    def prepare(self, data: Dataset, batch: Batch) -> None:
        """Make ready for `train` with such arguments, before anything is computed.

        Errors: ConfigError if the step would not fit in memory.
        """

    def train(self, data: Dataset, batch: Batch, shield: Shield | None = None) -> Found:
        """Some steps, each on its own rows of a data set. `shield` goes up before the state
        changes."""
        state, found = self.now, list[dict[str, Any]]()
        done = 0
        for rows, lr, key in zip(batch["rows"], batch["lr"], batch["key"], strict=True):
            one = {"rows": rows, "lr": lr, "key": key, "epoch_key": batch["epoch_key"]}
            after, metrics = self.call(self.step.train_rows, state, data.x, data.y, one)
            found.append(metrics)
            if not (np.isfinite(metrics["loss"]) and np.isfinite(metrics["gradient_norm"])):
                break
            state, done = after, done + 1
        if shield:
            shield.up()
        self.now = state
        loss, score, norm = (np.array([m[name] for m in found])
                             for name in ("loss", "score", "gradient_norm"))
        return Found(loss, score, norm, done)

    def evaluate(self, x: Array, y: Array | None = None) -> dict[str, Array]:
        """Output of each sample, and its loss and score if the targets (for pictures that are given
        back: row numbers) are given."""
        parts: list[dict[str, Array]] = []
        size = evaluation_batch(x)
        for at in range(0, max(len(x), 1), size):
            rows = slice(at, at + size)
            batch = {"x": x[rows]} | ({} if y is None else {"y": y[rows]})
            parts.append(self.call(self.step.evaluate, usable(self.now), batch))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def call(self, f: Callable[..., Any], *args: Any) -> Any:
        """f(*args)."""
        return f(*args)


class Traced(Engine):
    """As a graph in the NumPy interpreter."""

    def __init__(self, step: Step, threads: int | None = None, conv: str | None = None):
        super().__init__(step, threads, conv)
        self.graphs: dict[Any, Callable[..., Any]] = {}

    def call(self, f: Callable[..., Any], *args: Any) -> Any:
        """f(*args) by its graph."""
        key = (f.__name__, self.step, shapes(*args))
        if key not in self.graphs:
            started = time.perf_counter()
            traced = trace(f, *args)
            self.graphs[key] = replace(traced, graph=optimise(traced.graph, exact=True))
            self.seconds_compile += time.perf_counter() - started
        return self.graphs[key](*args)


class Compiled(Engine):
    """As machine code.

    The state is kept leaf by leaf: `placed` as the code wants it, or `natural` as everybody else
    knows it as long as no code has asked for it. The order of the axes in memory depends on a
    leaf's shape alone, so all codes share the same arrays. `kept` is what codes of inference made
    of it (see Executable.keep): valid until the state changes. Arrays that are `loaded` already
    are not taken up again.
    """

    def __init__(self, step: Step, threads: int | None = None, conv: str | None = None):
        self.kept: dict[Executable, Kept] = {}
        self.loaded: list[Callable[[], Any]] = []  # weak references: the present state, if any
        self.structure: Any = None
        super().__init__(step, threads, conv)
        self.codes: dict[Any, Executable] = {}
        self.fitting: dict[int, int] = {}  # steps in a call, by the samples of a step

    def load(self, state: State) -> None:
        leaves, structure = flatten_tree({**usable(state), **state} if state else {})
        if leaves and structure == self.structure and len(leaves) == len(self.loaded) and \
                all(old() is new for old, new in zip(self.loaded, leaves, strict=True)):
            return
        self.kept.clear()
        self.structure = structure
        self.loaded = [weakref.ref(cast("Array", x)) for x in leaves if isinstance(x, np.ndarray)]
        self.specs = [(leaf.shape, leaf.dtype) for leaf in leaves]
        self.names = [(kind, name) for kind in usable(state) for name in state[kind]] if state \
            else []
        self.natural: list[Array | None] = leaves
        self.placed: list[Array | None] = [None] * len(leaves)
        self.placers: list[Executable | None] = [None] * len(leaves)

    def state(self) -> State:
        return unflatten_tree(self.structure, [self.leaf(k) for k in range(len(self.natural))])

    def part(self, kind: str, name: str) -> Array:
        return self.leaf(self.names.index((kind, name)))

    def leaf(self, k: int) -> Array:
        """Leaf k of the present state, in an array that nothing changes any more."""
        natural, code, array = self.natural[k], self.placers[k], self.placed[k]
        if natural is not None:
            return natural
        assert code is not None and array is not None
        return code.natural(k, array)

    def stand_ins(self) -> State:
        """A state of the same shapes and types, to trace with."""
        return unflatten_tree(self.structure, [np.broadcast_to(np.zeros((), dtype), shape)
                                               for shape, dtype in self.specs])

    def place(self, code: Executable, count: int) -> list[Array]:
        """The first leaves of the state as the code wants them, each held once."""
        found: list[Array] = []
        for k in range(count):
            natural, placer, array = self.natural[k], self.placers[k], self.placed[k]
            if natural is not None:
                array = self.placed[k] = code.place(k, natural)
                self.placers[k], self.natural[k] = code, None
            elif placer is None or placer.plan.inputs[k].order != code.plan.inputs[k].order:
                raise RuntimeError(f"two codes want leaf {k} of the state in different orders")
            assert array is not None
            found.append(array)
        return found

    def make_room(self, code: Executable) -> None:
        """Codes for other batches give up large memory of their own until their next turn."""
        for other in self.codes.values():
            if other is not code and other.arena_bytes > REUSED_BYTES:
                other.release()
            if other is not code and other.kept_bytes > REUSED_BYTES:
                self.kept.pop(other, None)

    def count(self, most: int, samples: int) -> int:
        """As many as fit in the time of a call; one, as long as no time is known."""
        return min(most, self.fitting.get(samples, 1))

    def prepare(self, data: Dataset, batch: Batch) -> None:
        self.training(data, batch)

    def training(self, data: Dataset, batch: Batch) -> Executable:
        """The code of the training step for such arguments."""
        one = {name: value if name == "epoch_key" else value[0] for name, value in batch.items()}
        one["scale"] = self.step.normalizer.arrays()
        args = (data.x, data.y, one)
        key = ("train", self.step, shapes(*args))
        if key in self.codes:
            return self.codes[key]
        state = self.stand_ins()
        leaves = flatten_tree(state)[0]

        def f(state: State, *args: Any) -> Any:
            after, metrics = self.step.train_rows(state, *args)
            found = [metrics[name] for name in ("loss", "score", "gradient_norm")]
            return flatten_tree(like(state, after))[0], *found

        n = len(leaves)
        code = self.compile(f, (state, *args), {k: k for k in range(n)}, watched=(n, n + 2))
        fixed = sum(leaf.nbytes for leaf in leaves) + code.threads * code.scratch_bytes + \
            code.kept_bytes
        check_memory(len(one["rows"]), fixed + code.arena_bytes, code.arena_bytes, fixed,
                     config.available_memory())
        self.codes[key] = code
        return code

    def compile(self, f: Callable[..., Any], args: tuple[Any, ...], state: Any,
                watched: tuple[int, ...] = ()) -> Executable:
        """A function as machine code."""
        started = time.perf_counter()
        code = code_of(trace(f, *args).graph, self.threads, state, watched, self.conv)
        self.seconds_compile += time.perf_counter() - started
        return code

    def train(self, data: Dataset, batch: Batch, shield: Shield | None = None) -> Found:
        code = self.training(data, batch)
        n, k = len(self.natural), len(batch["rows"])
        scale = self.step.normalizer.arrays()
        arrays = [*self.place(code, n), data.x, data.y, *flatten_tree((batch, scale))[0]]
        self.make_room(code)
        self.kept.clear()
        self.loaded = []
        started = time.perf_counter()
        if shield:
            shield.up()
        found = code.run(arrays, moving={n + 2, n + 3, n + 4}, steps=k)
        seconds = (time.perf_counter() - started) / k
        self.fitting[len(batch["rows"][0])] = max(1, int(CALL_SECONDS / seconds))
        kept = found.steps + found.given_up
        loss, score, norm = (values[:kept] for values in found.outputs)
        return Found(loss, score, norm, found.steps)

    def evaluate(self, x: Array, y: Array | None = None) -> dict[str, Array]:
        size = evaluation_batch(x)
        given = [x] if y is None else [x, y]
        code, n, names = self.judging([part[:0] for part in given], size)
        self.make_room(code)
        if code not in self.kept:
            self.kept[code] = code.keep(self.place(code, n))
        scale = flatten_tree(self.step.normalizer.arrays())[0]
        found: list[list[Array]] = []
        at, steps = 0, 1
        while at < max(len(x), 1):
            steps = min(steps, max(1, (len(x) - at) // size))
            parts = [batches(part[at:at + steps * size], steps, size) for part in given]
            started = time.perf_counter()
            found.append(code.run([*parts, *scale], steps=steps, kept=self.kept[code],
                                  moving=range(n, n + len(parts))).outputs)
            at += steps * size
            steps = max(1, int(CALL_SECONDS * steps / (time.perf_counter() - started)))
        return {name: np.concatenate([part[i].reshape(-1, *part[i].shape[2:]) for part in found]
                                     )[:len(x)] for i, name in enumerate(names)}

    def judging(self, given: list[Array], size: int) -> tuple[Executable, int, tuple[str, ...]]:
        """The code of inference for batches of such arrays, how many leaves of the state it takes,
        and the names of what it gives."""
        batch: Batch = {name: batches(part, 1, size)[0]
                        for name, part in zip("xy", given, strict=False)}
        batch["scale"] = self.step.normalizer.arrays()
        state = usable(self.stand_ins())
        n = len(flatten_tree(state)[0])
        key = ("evaluate", shapes(batch))
        if key not in self.codes:
            self.codes[key] = self.compile(self.step.evaluate, (state, batch),
                                           dict.fromkeys(range(n)))
        return self.codes[key], n, ("output", "loss", "score")[:1 if len(given) == 1 else 3]


_codes: dict[Any, Executable] = {}  # the last ones


def code_of(graph: Graph, threads: int | None, state: dict[int, int | None],
            watched: tuple[int, ...], conv: str | None) -> Executable:
    """The compiled graph; a small one that this process had lately is used again, so that a search
    over learning rates or seeds compiles once."""
    from kiso.runtime import compile_graph, target

    key = (graph.specs, graph.inputs, graph.outputs, repr(target()), config.conv(conv), threads,
           *state.items(), watched, *((node.op, node.inputs, node.outputs) for node in graph.nodes),
           *((n, x.dtype, x.shape, x.tobytes()) for n, x in graph.constants.items()))
    code = _codes.pop(key, None)
    if code is None:
        code = compile_graph(graph, threads, state=state, watched=watched, conv=conv)
    if code.arena_bytes <= REUSED_BYTES:
        _codes[key] = code  # at the end: used last
        for old in list(_codes)[:-REUSED]:
            _codes.pop(old, None)
    return code


def usable(state: State) -> State:
    """The part of a state that inference needs."""
    return {name: state[name] for name in ("params", "buffers")}


def like(template: Any, tree: Any) -> Any:
    """A tree of dicts in the order of another one."""
    if not isinstance(template, dict):
        return tree
    return {name: like(value, tree[name])
            for name, value in cast("dict[str, Any]", template).items()}


def shapes(*args: Any) -> Any:
    """Shapes and types of all leaves."""
    return tuple((v.shape, v.dtype.str) for v in flatten_tree(args)[0])


def evaluation_batch(x: Array) -> int:
    """Samples in a batch of inference: a power of two, not more than needed."""
    numbers = max(1, x[:1].size)
    most = max(1, min(BATCH, EVALUATION_NUMBERS // numbers))
    return min(1 << (most.bit_length() - 1), 1 << max(len(x) - 1, 0).bit_length())


def batches(part: Array, steps: int, size: int) -> Array:
    """Samples as (steps, size, ...), with zeros behind the last one if they do not suffice."""
    if len(part) < steps * size:
        part = np.concatenate([part, np.zeros((steps * size - len(part), *part.shape[1:]),
                                              part.dtype)])
    return part.reshape(steps, size, *part.shape[1:])


ENGINES: dict[str, type[Engine]] = {"eager": Engine, "traced": Traced, "compiled": Compiled}
