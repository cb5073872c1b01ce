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

from collections.abc import Container
from math import prod

from kiso.compiler.codegen.convert import convert, reads
from kiso.compiler.codegen.kernel import form
from kiso.compiler.codegen.split import replace
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
    subexpressions,
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
    ready: dict[Buffer, int] = {}  # place in `made` of the kernel that writes a buffer
    used: dict[Buffer, int] = {}  # and of the last one that reads it
    hosts: dict[tuple[int, ...], list[int]] = {}
    came: list[int] = []  # where the kernels of `made` stood in the program
    for i, kernel in enumerate(program.kernels):
        place = len(made)
        if isinstance(kernel, Kernel) and prod(kernel.buffer.shape):
            same = hosts.setdefault(_loops(kernel), [])
            late = [b for b in kernel.buffers if b in state]
            first = max((-1, *(ready.get(b, -1) for b in reads(kernel)),
                         *(used.get(b, -1) for b in late)))
            most = max((b.nbytes for b in reads(kernel)), default=0) // 8
            far = any(last.get(b, -1) > i and b.nbytes > max(most, 4 * SMALL)
                      for b in kernel.buffers)
            for at in reversed(same):
                host = made[at]
                if at < first or (far and i - came[at] > NEAR):
                    break
                if not isinstance(host, Kernel) or (late and not any(
                        b in state for b in host.buffers)):
                    continue
                both = _joined(host, kernel, vector_bytes)
                if both is not None:
                    made[at], place = both, at
                    break
            if place == len(made):
                same.append(place)
        if place == len(made):
            made.append(kernel)
            came.append(i)
        ready |= dict.fromkeys(kernel.buffers, place)
        used |= {b: max(place, used.get(b, -1)) for b in reads(kernel)}
    result = Program()
    result.kernels = made
    return result


def _loops(kernel: Kernel) -> tuple[int, ...]:
    """Extents of the loops, the slowest first."""
    return tuple(n for n in (kernel.axes[k].extent for k in kernel.buffer.order) if n != 1)


def _terms(kernel: Kernel) -> int:
    longest = max((prod(a.extent for a in e.axes) for e in _reductions(kernel)), default=1)
    return prod(a.extent for a in kernel.axes) * longest


def _reductions(kernel: Kernel) -> list[Reduce]:
    return [e for e in subexpressions(*(e for _, e in kernel.results)) if isinstance(e, Reduce)]


def _joined(host: Kernel, kernel: Kernel, vector_bytes: int) -> Kernel | None:
    """One kernel for both, if it may be and saves something."""
    own = dict(host.results)
    values = {element.buffer: e for element, e in own.items()}
    used = [b for b in reads(kernel) if b in values]
    size = prod(kernel.buffer.shape)
    shared = any(prod(b.shape) >= size for b in {*reads(host)}.intersection(reads(kernel)))
    small = max(_terms(host), _terms(kernel)) <= SMALL
    if len(own) + len(kernel.results) > MOST or not (small or used or shared):
        return None
    # The same loop in both has the same place among those longer than 1.
    mine, theirs = ([k.axes[a] for a in k.buffer.order if k.axes[a].extent != 1]
                    for k in (kernel, host))
    index: dict[Axis, Expr] = {a: const(0) for a in kernel.axes}
    index |= {a: Index(b) for a, b in zip(mine, theirs, strict=True)}
    mapped: dict[Expr, Expr] = {}
    results = [(Load(element.buffer, [replace(i, mapped, index) for i in element.indices]),
                replace(e, mapped, index)) for element, e in kernel.results]
    known: dict[Expr, Expr] = {}
    targets = {element.buffer: element for element in own}
    for e in subexpressions(*(e for _, e in results)):
        if isinstance(e, Load) and e.buffer in values:
            if not all(map(_same, e.indices, targets[e.buffer].indices)):
                return None
            known[e] = values[e.buffer]
    given = {element.buffer: element for element, _ in results}  # the host reads old state there
    for e in subexpressions(*own.values()):
        if isinstance(e, Load) and e.buffer in given and not all(
                map(_same, e.indices, given[e.buffer].indices)):
            return None
    results = [(element, replace(e, known, {})) for element, e in results]
    both = Kernel(host.buffer, host.axes, host.expr, host.name, (*host.more, *results))
    if _reductions(both):
        forms = {form(convert(k), vector_bytes)
                 for k in (both, *(k for k in (host, kernel) if _reductions(k)))}
        if len(forms) > 1:
            return None
    return both


def _same(a: Expr, b: Expr) -> bool:
    """Whether two indices are one loop variable, or the only place of an axis of length 1."""
    if isinstance(a, Const) or isinstance(b, Const):
        return all(isinstance(x, Const) or (isinstance(x, Index) and x.axis.extent == 1)
                   for x in (a, b))
    return isinstance(a, Index) and isinstance(b, Index) and (
        a.axis is b.axis or a.axis.extent == b.axis.extent == 1)
