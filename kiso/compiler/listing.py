"""Kernels as text: what `kiso show --stage kernels` prints.

    %7[i, j] f32[100,10] = %5[i, j] + %2[j]
    %9[i] f32[100] = max(k < 10: %7[i, k])
"""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_lowercase

from kiso.compiler.graph import Spec
from kiso.compiler.loops import (
    Axis,
    Binary,
    Buffer,
    Cast,
    Const,
    Contract,
    Expr,
    Index,
    Kernel,
    Load,
    Program,
    Reduce,
    Select,
    Unary,
)

__all__ = ["kernel_text", "program_text"]

SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%", "and": "&", "or": "|",
           "xor": "^", "shl": "<<", "shr": ">>", "eq": "==", "ne": "!=", "lt": "<", "le": "<=",
           "gt": ">", "ge": ">="}
LONGEST = 2000  # characters of one kernel that are shown


class Names:
    """Short names: buffers keep theirs or get tN, loop variables become i, j, k, ..."""

    def __init__(self) -> None:
        self.buffers: dict[Buffer, str] = {}
        self.axes: dict[Axis, str] = {}
        letters = ascii_lowercase[8:] + ascii_lowercase[:8]
        self.free: Iterator[str] = (a + b for b in ("", *map(str, range(1, 100))) for a in letters)

    def buffer(self, buffer: Buffer) -> str:
        """Name of a buffer."""
        name = buffer.name if buffer.name.startswith("%") else f"t{len(self.buffers)}"
        return self.buffers.setdefault(buffer, name)

    def axis(self, axis: Axis) -> str:
        """Name of a loop variable."""
        if axis not in self.axes:
            self.axes[axis] = next(self.free)
        return self.axes[axis]

    def text(self, e: Expr) -> str:
        """An expression."""
        if isinstance(e, Const):
            return f"{e.value:g}" if e.dtype.kind == "f" else str(e.value)
        if isinstance(e, Index):
            return self.axis(e.axis)
        if isinstance(e, Load):
            return f"{self.buffer(e.buffer)}[{', '.join(map(self.text, e.indices))}]"
        if isinstance(e, Cast):
            return f"{e.dtype.name}({self.text(e.x)})"
        if isinstance(e, Select):
            return f"select({self.text(e.condition)}, {self.text(e.a)}, {self.text(e.b)})"
        if isinstance(e, Unary):
            return f"{e.name}({self.text(e.x)})"
        if isinstance(e, Binary):
            a, b = self.text(e.a), self.text(e.b)
            return f"({a} {SYMBOLS[e.name]} {b})" if e.name in SYMBOLS else f"{e.name}({a}, {b})"
        assert isinstance(e, Reduce)
        ranges = ", ".join(f"{self.axis(a)} < {a.extent}" for a in e.axes)
        return f"{e.kind}({ranges}: {self.text(e.body)})"


def kernel_text(kernel: Kernel | Contract, names: Names) -> str:
    """One kernel: a line for each result."""
    if isinstance(kernel, Contract):
        spec = Spec(kernel.buffer.shape, kernel.buffer.dtype)
        count = len(kernel.turned)
        given = ", ".join(names.buffer(b) + (".T" if turned else "")
                          for b, turned in zip(kernel.inputs[:count], kernel.turned, strict=True))
        more = map(names.buffer, kernel.inputs[count:])
        after = "".join(f" {name}" + ("" if name == "relu" else f"({next(more)})")
                        for name in kernel.after)
        return f"{names.buffer(kernel.buffer)} {spec} = {kernel.op}({given}){after}"
    lines = [f"{names.text(element)} {Spec(element.buffer.shape, element.dtype)} = {names.text(e)}"
             for element, e in kernel.results]
    return "\n  and ".join(x if len(x) <= LONGEST else x[:LONGEST] + " ..." for x in lines)


def program_text(program: Program) -> str:
    """All kernels in order."""
    buffers = Names()
    lines: list[str] = []
    for kernel in program.kernels:
        names = Names()  # loop variables begin at i again
        names.buffers = buffers.buffers
        lines.append(kernel_text(kernel, names))
    return "\n".join(lines)
