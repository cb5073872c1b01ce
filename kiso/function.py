"""`kiso.compile`: a function of arrays, or a model, as machine code.

    fast = kiso.compile(model)            inference; the weights are those of the model
    y = fast(x)

    @kiso.compile
    def step(params, x, y):               a training step of one's own
        def loss(p):
            return ops.cross_entropy(ops.matmul(x, p["w"]), y), None
        value, grads, _ = value_and_grad(loss, params)
        return {"w": params["w"] - 0.1 * grads["w"]}, value

    params, loss = step(params, x, y)     compiled at the first call with such shapes

Any nesting of dicts, lists and tuples goes in and out. All numbers in the arguments are run-time
values; what else the function reads (options, arrays from outside) is fixed when it is compiled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from itertools import chain
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from kiso.autograd import Tensor
from kiso.compiler import trace
from kiso.errors import GraphError
from kiso.nn import Module, functional_call
from kiso.nn.parameter import Changes
from kiso.ops.op import Array, as_array
from kiso.tree import flatten_tree, unflatten_tree

if TYPE_CHECKING:
    from kiso.runtime import Executable, Kept

__all__ = ["Function", "compile"]


VALUE = attrgetter("_value")  # the array of a tensor, None if it is lent


@dataclass
class Compiled:
    """The code for one combination of shapes. kept: the arrays of the model in memory, and what
    was computed of them alone; none since they changed."""

    code: Executable
    results: Any  # structure of what comes out
    tensors: list[bool]  # which of the results are Tensors
    kept: Kept | None = None


class Parts:
    """The elements of lists and of dicts' values, as they are now."""

    def __init__(self, parts: list[Any]):
        self.parts = parts
        self.sizes, self.then = [*map(len, parts)], [*chain.from_iterable(parts)]

    def stale(self) -> bool:
        """Whether something was replaced."""
        return [*map(len, self.parts)] != self.sizes or not all(
            map(is_, chain.from_iterable(self.parts), self.then))


class Tensors:
    """The tensors of a model, in the order of `weights`. A walk through the model finds them; as
    long as no attribute of a module and no element of its lists and dicts was replaced, another
    one would find the same, which is tested in a tenth of the time. As long as nothing was assigned
    in any model (`Changes`), only lists and dicts can have changed, and only they are looked at."""

    def __init__(self, model: Module):
        self.every = [*model.parameters(), *model.buffers()]
        found = [vars(module) for module in model.modules()]
        inside: list[Any] = [x for attributes in found for name, x in attributes.items()
                             if isinstance(x, list | dict) and name != "_kinds"]
        values: list[Any] = [x.values() if isinstance(x, dict) else x for x in inside]
        self.inside, self.met = Parts(values), Parts([*(x.values() for x in found), *values])
        self.seen: object = None  # the last change when they were found to be the same

    def stale(self) -> bool:
        """Whether something was replaced."""
        return self.met.stale()

    def same(self, arrays: list[Array]) -> bool:
        """Whether these are still the arrays of the model. (A tensor that is lent gives others each
        time.)"""
        latest = Changes.latest  # from before the search
        if self.seen is latest and not self.inside.stale():
            return True
        same = not self.stale() and all(map(is_, map(VALUE, self.every), arrays))
        self.seen = latest if same else None
        return same


class Function:
    """What `compile` returns; call it as the function or the model."""

    def __init__(self, f: Callable[..., Any], threads: int | None = None):
        if not callable(f):
            raise GraphError(f"compile() needs a function or a Module, not a {type(f).__name__}.")
        self.f = f
        self.threads = threads
        self.model = f if isinstance(f, Module) else None
        self.plans: dict[Any, Compiled] = {}  # by structure, shapes and types of the arguments
        self.tensors = None if self.model is None else Tensors(self.model)
        self.state: list[Array] = []  # of the model, as it was at the last call
        # As it lies in memory, by place and order of the axes, as long as a plan needs it.
        self.placed: WeakValueDictionary[Any, Array] = WeakValueDictionary()
        self.lock = threading.Lock()
        if self.model is None:
            update_wrapper(self, f)

    def __repr__(self) -> str:
        name = type(self.f).__name__ if self.model else getattr(self.f, "__name__", "function")
        return f"<compiled {name}, {len(self.plans)} combinations of shapes>"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The results, as new arrays; as Tensors without a gradient where the function gives such.

        Errors: GraphError for a function that cannot be traced: one that branches on values, or
        gives or takes something else than numbers.
        """
        given, structure = flatten_tree((args, options))
        tensors = tuple([isinstance(x, Tensor) for x in given])
        arrays = [as_array(x.data if isinstance(x, Tensor) else x) for x in given]
        key = (structure, tensors, *[(x.shape, x.dtype) for x in arrays])
        with self.lock:
            plan = self.plans.get(key)
            kept = plan.kept if plan and (not self.tensors or self.tensors.same(self.state)) \
                else None
            if plan is None:
                plan = self.plans[key] = self.build(structure, tensors, arrays)
            if kept is None:
                kept = self.kept(plan, self.present())
        outputs = plan.code.run(arrays, kept=kept).outputs
        return unflatten_tree(plan.results, [
            Tensor(y[0]) if tensor else y[0] for y, tensor in zip(outputs, plan.tensors,
                                                                  strict=True)])

    def present(self) -> list[Array]:
        """The arrays of the model."""
        if self.model is None or self.tensors is None:
            return []
        if self.tensors.stale():
            self.tensors = Tensors(self.model)
        return [x.data for x in self.tensors.every]

    def kept(self, plan: Compiled, state: list[Array]) -> Kept:
        """The present state as the plan's code wants it. Plans share the arrays; all start anew
        when an array of the model was replaced."""
        changed = [k for k, x in enumerate(state) if k >= len(self.state) or self.state[k] is not x]
        if changed:
            for old in self.plans.values():
                old.kept = None
            for key in [key for key in self.placed if key[0] in changed]:
                self.placed.pop(key, None)
            self.state = state
        if plan.kept is None:
            keys = [(k, plan.code.plan.inputs[k].order) for k in range(len(state))]
            found: list[Array] = []
            for key, x in zip(keys, state, strict=True):
                array = self.placed.get(key)
                if array is None:
                    array = self.placed[key] = plan.code.place(key[0], x)
                found.append(array)
            plan.kept = plan.code.keep(found)
        return plan.kept

    def build(self, structure: Any, tensors: tuple[bool, ...], arrays: list[Array]) -> Compiled:
        """Trace and compile for such arguments."""
        from kiso.runtime import compile_graph

        kinds: list[bool] = []

        def bare(state: Any, leaves: list[Any]) -> Any:
            args, options = unflatten_tree(structure, [
                Tensor(x) if tensor else x for x, tensor in zip(leaves, tensors, strict=True)])
            if self.model is None:
                result = self.f(*args, **options)
            else:
                result, _ = functional_call(self.model, *state, *args, **options)
            ys, out = flatten_tree(result)
            kinds[:] = [isinstance(y, Tensor) for y in ys]
            return unflatten_tree(out, [y.data if isinstance(y, Tensor) else y for y in ys])

        state = None if self.model is None else weights(self.model)
        traced = trace(bare, state, arrays)
        count = len(flatten_tree(state)[0])
        code = compile_graph(traced.graph, self.threads, state=dict.fromkeys(range(count)))
        return Compiled(code, traced.results, list(kinds))


def weights(model: Module) -> tuple[dict[str, Any], dict[str, Any]]:
    """The present arrays of a model: parameters and buffers."""
    return ({name: p.data for name, p in model.named_parameters()},
            {name: b.data for name, b in model.named_buffers()})


def compile(f: Callable[..., Any], threads: int | None = None) -> Function:
    """A function of arrays or Tensors, or a model for inference, as machine code.

    f: takes and returns arrays and Tensors in any nesting of dicts, lists and tuples, and computes
        with Kiso's ops; gradients (`value_and_grad`, `grad`) and optimizer rules may be inside.
        A Module is called in inference mode; it may be trained on, the next call takes its new
        weights (assign to `p.data`; changes inside an array are not seen).
    threads: how many compute, at most; by default KISO_NUM_THREADS or the available cores. Little
        work (below 0.1 ms, by an estimate from shapes) is done by the caller's thread alone.

    The first call with other shapes or types compiles; the code of earlier processes is found in
    the cache. Calls from several threads at once are safe. Results equal those of the function to
    rounding. They do not remember how they were computed: take gradients inside.

        fast = kiso.compile(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)))
        scores = fast(x)                                   a Tensor (N, 10)

    Errors: GraphError at the first call for a function that branches on values, or gives
    something else than numbers.
    """
    return Function(f, threads)
