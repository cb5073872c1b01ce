"""Several results from one loop: kernels of equal loops become one that reads each array once.

    v'[i] = m v[i] + g[i]                   p'[i] = p[i] - lr v'[i]             (the optimizer)
    s[c] = sum(n, i: gy[n, c, i])           t[c] = sum(n, i: gy[n, c, i] x[n, c, i])

A kernel joins an earlier one, a *host*, if all that it reads is there when the host runs. Of the
host's own results it may read the element of the same turn alone: it then takes the value itself.
State that is updated where it lies has two values: a kernel that writes it does not come before one
that reads the old value, and does not join one that writes no state (see inplace.py).
Small kernels join any host, so that few are left for threads to wait for; a large one must have
something to save, an array that both read or a result of the host, and its results must not
occupy memory for much longer than before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container
from math import prod

from kiso.compiler.codegen.convert import convert
from kiso.compiler.codegen.kernel import form
from kiso.compiler.loops import (
    Axis,
    Buffer,
    Const,
    Contract,
    Expr,
    Index,
    Kernel,
    Load,
    Program,
    Reduce,
    const,
    find,
    reads,
)

__all__ = ["fuse"]

SMALL = 1 << 14  # terms of a kernel that is not worth an array's passing through memory
NEAR = 4  # kernels by which a large result may be computed earlier
MOST = 16  # results of one kernel


def fuse(program: Program, vector_bytes: int, state: Container[Buffer] = ()) -> Program:
    """The program with kernels of equal loops joined; every kernel still comes after those that
    write what it reads."""
    last = {b: i for i, kernel in enumerate(program.kernels) for b in reads(kernel)}
    made: list[Kernel | Contract] = []
    came: list[int] = []  # where the kernels of `made` stood in the program
    ready: dict[Buffer, int] = {}  # place in `made` of the kernel that writes a buffer
    used: dict[Buffer, int] = {}  # and of the last one that reads it
    hosts: dict[tuple[int, ...], list[int]] = defaultdict(list)  # places, by loops
    for i, kernel in enumerate(program.kernels):
        place, inputs = len(made), reads(kernel)
        late = [b for b in kernel.buffers if b in state]
        first = max((*(ready.get(b, -1) for b in inputs), *(used.get(b, -1) for b in late)),
                    default=-1)
        some = max([4 * SMALL, *(b.nbytes // 8 for b in inputs)])  # bytes
        far = any(last.get(b, -1) > i and b.nbytes > some for b in kernel.buffers)
        same: list[int] = []
        if isinstance(kernel, Kernel) and prod(kernel.buffer.shape):
            same = hosts[_loops(kernel)]
            for at in reversed(same):
                if at < first or (far and i - came[at] > NEAR):
                    break
                host = made[at]
                assert isinstance(host, Kernel)
                both = None if late and not any(b in state for b in host.buffers) else \
                    _joined(host, kernel, vector_bytes)
                if both is not None:
                    made[at], place = both, at
                    break
        if place == len(made):
            same.append(place)
            made.append(kernel)
            came.append(i)
        ready |= dict.fromkeys(kernel.buffers, place)
        used |= {b: max(place, used.get(b, -1)) for b in inputs}
    return Program(made)


def _loops(kernel: Kernel) -> tuple[int, ...]:
    """Extents of the loops, the slowest first."""
    return tuple(n for n in (kernel.axes[k].extent for k in kernel.buffer.order) if n != 1)


def _reductions(kernel: Kernel) -> list[Reduce]:
    return find(Reduce, *(e for _, e in kernel.results))


def _terms(kernel: Kernel) -> int:
    longest = max((prod(a.extent for a in e.axes) for e in _reductions(kernel)), default=1)
    return prod(a.extent for a in kernel.axes) * longest


def _joined(host: Kernel, kernel: Kernel, vector_bytes: int) -> Kernel | None:
    """One kernel for both, if it may be and saves something."""
    given = {element.buffer: e for element, e in host.results}
    shared = {*given, *(b for b in reads(host) if prod(b.shape) >= prod(kernel.buffer.shape))}
    small = max(_terms(host), _terms(kernel)) <= SMALL
    if len(host.results) + len(kernel.results) > MOST or (
            shared.isdisjoint(reads(kernel)) and not small):
        return None
    # The same loop in both has the same place among those longer than 1.
    mine, theirs = ([k.axes[a] for a in k.buffer.order if k.axes[a].extent != 1]
                    for k in (kernel, host))
    index: dict[Axis, Expr] = {a: const(0) for a in kernel.axes}
    index |= {a: Index(b) for a, b in zip(mine, theirs, strict=True)}
    mapped: dict[Expr, Expr] = {}
    results = [(Load(element.buffer, [i.replace(mapped, index) for i in element.indices]),
                e.replace(mapped, index)) for element, e in kernel.results]
    written = {element.buffer: element for element, _ in (*host.results, *results)}
    for load in find(Load, *(e for _, e in (*host.results, *results))):
        element = written.get(load.buffer)
        if element is not None and not all(map(_same, load.indices, element.indices)):
            return None
    known: dict[Expr, Expr] = {load: given[load.buffer] for load in find(
        Load, *(e for _, e in results)) if load.buffer in given}
    more = ((element, e.replace(known, {})) for element, e in results)
    both = Kernel(host.buffer, host.axes, host.expr, host.name, (*host.more, *more))
    forms = {form(convert(k), vector_bytes) for k in (host, kernel, both) if _reductions(k)}
    return both if len(forms) <= 1 else None


def _same(a: Expr, b: Expr) -> bool:
    """Whether two indices are one loop variable, or the only place of an axis of length 1."""
    def only(i: Expr) -> bool:
        return isinstance(i, Const) or (isinstance(i, Index) and i.axis.extent == 1)

    return (only(a) and only(b)) or (
        isinstance(a, Index) and isinstance(b, Index) and a.axis is b.axis)
