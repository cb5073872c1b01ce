"""A program as one LLVM module."""

from __future__ import annotations

from dataclasses import dataclass

from kiso.compiler.codegen.convert import convert
from kiso.compiler.codegen.kernel import Code, write_kernel
from kiso.compiler.loops import Buffer, Program

__all__ = ["Module", "generate"]


@dataclass(frozen=True)
class Module:
    """IR text; `slots` is the place of each buffer in the table of pointers.

    Functions: each kernel as `name(table, begin, end)`, and `main(table)` that runs all of them.
    """

    text: str
    kernels: tuple[Code, ...]
    slots: dict[Buffer, int]


def generate(program: Program, vector_bytes: int) -> Module:
    """Write all kernels of a program for vectors of this size."""
    nests = [convert(k) for k in program.kernels]
    slots: dict[Buffer, int] = {}
    for nest in nests:
        for b in (*nest.buffers, nest.buffer):
            slots.setdefault(b, len(slots))
    codes = [write_kernel(f"k{i}", nest, slots, vector_bytes) for i, nest in enumerate(nests)]
    declared = {name: line for code in codes for name, line in code.declared.items()}
    calls = [f"  call void @{c.name}(ptr %table, i64 0, i64 {c.items})" for c in codes if c.items]
    main = "\n".join(["define void @main(ptr %table) nounwind {", *calls, "  ret void", "}"])
    text = "\n".join([*(c.text for c in codes), main, *declared.values(), ""])
    return Module(text, tuple(codes), slots)
