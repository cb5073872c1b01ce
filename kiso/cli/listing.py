"""Kernels as text: what `kiso show --stage kernels` prints.

    %7[i, j] f32[100,10] = %5[i, j] + %2[j]
    %9[i] f32[100] = max(k < 10: %7[i, k])
    %4 f32[1,32,8,8] = Conv[...](%3, %0) bias(%1) relu by F(4x4, 3x3)
"""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_lowercase

from kiso.compiler.graph import Spec
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
)

__all__ = ["program_text"]

SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%", "and": "&", "or": "|",
           "xor": "^", "shl": "<<", "shr": ">>", "eq": "==", "ne": "!=", "lt": "<", "le": "<=",
           "gt": ">", "ge": ">="}
LONGEST = 2000  # characters of one kernel that are shown


class Names:
    """Short names: buffers keep theirs or get tN, loop variables become i, j, k, ..."""

    def __init__(self) -> None:
        self.buffers: dict[Buffer, str] = {}
        self.axes: dict[Axis, str] = {}

    def buffer(self, buffer: Buffer) -> str:
        """Name of a buffer."""
        name = buffer.name if buffer.name.startswith("%") else f"t{len(self.buffers)}"
        return self.buffers.setdefault(buffer, name)

    def axis(self, axis: Axis) -> str:
        """Name of a loop variable."""
        turn, k = divmod(len(self.axes), 26)  # i, ..., z, a, ..., h, i1, ...
        return self.axes.setdefault(axis, ascii_lowercase[(k + 8) % 26] + str(turn or ""))

    def text(self, e: Expr) -> str:
        """An expression."""
        if isinstance(e, Const):
            return f"{e.value:g}" if e.dtype.kind == "f" else str(e.value)
        if isinstance(e, Index):
            return self.axis(e.axis)
        begin, end = f"{e.dtype.name if e.name == 'cast' else e.name}(", ")"
        if isinstance(e, Load):
            begin, end = f"{self.buffer(e.buffer)}[", "]"
        if isinstance(e, Reduce):
            begin = f"{e.kind}({', '.join(f'{self.axis(a)} < {a.extent}' for a in e.axes)}: "
        parts = [self.text(x) for x in e.parts]
        if e.name in SYMBOLS:
            return f"({parts[0]} {SYMBOLS[e.name]} {parts[1]})"
        return begin + ", ".join(parts) + end

    def kernel(self, kernel: Kernel | Contract) -> str:
        """One kernel: a line for each result."""
        self.axes.clear()  # loop variables begin at i again
        if isinstance(kernel, Contract):
            names = map(self.buffer, kernel.inputs)
            given = ", ".join(next(names) + ".T" * turned for turned in kernel.turned)
            after = "".join(f" {name}" + ("" if name == "relu" else f"({next(names)})")
                            for name in kernel.after)
            into = kernel.buffer
            return f"{self.buffer(into)} {Spec.of(into)} = {kernel.op}({given}){after}"
        lines = [f"{self.text(element)} {Spec.of(element.buffer)} = {self.text(e)}"
                 for element, e in kernel.results]
        return "\n  and ".join(x if len(x) <= LONGEST else x[:LONGEST] + " ..." for x in lines)


def program_text(program: Program, forms: Mapping[str, str] | None = None) -> str:
    """All kernels in order. `forms`: how those of such names compute, as `Step.form` says."""
    names, lines = Names(), list[str]()
    for kernel in program.kernels:
        form = (forms or {}).get(kernel.name)
        lines.append(names.kernel(kernel) + (f" by {form}" if form else ""))
    return "\n".join(lines)
