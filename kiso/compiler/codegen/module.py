"""A program as one LLVM module: each kernel is a function

    void kernel(table, begin, end)          items begin .. end - 1 of `items`, for one thread

that takes its pointers from the table and calls a body, which kernels that are alike share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kiso.compiler.codegen.convert import convert
from kiso.compiler.codegen.ir import Val, Writer
from kiso.compiler.codegen.kernel import Loops
from kiso.compiler.loops import Buffer, Contract, Kernel, Program, reads

__all__ = ["Code", "Module", "caller", "generate"]


@dataclass(frozen=True)
class Code:
    """A kernel's function: IR text, declarations, how many items it can be shared out by.

    The text is that of `name(table, begin, end)`; `body` is a function that it calls, @BODY in
    both.
    """

    name: str
    text: str
    body: str
    declared: dict[str, str]
    items: int
    mode: str


@dataclass(frozen=True)
class Module:
    """IR text; `slots` is the place of each buffer in the table of pointers.

    Functions: each kernel as `name(table, begin, end)`; the runtime adds the one that calls them.
    """

    text: str
    kernels: tuple[Code, ...]
    slots: dict[Buffer, int]


Contracts = Callable[[str, Contract, dict[Buffer, int], int], Code]


def generate(program: Program, vector_bytes: int, contract: Contracts | None = None) -> Module:
    """Write all kernels of a program for vectors of this size.

    contract(name, kernel, slots, vector_bytes) writes products and convolutions.
    """
    slots: dict[Buffer, int] = {}
    for kernel in program.kernels:
        for b in (*reads(kernel), *kernel.buffers):
            slots.setdefault(b, len(slots))
    codes: list[Code] = []
    for i, kernel in enumerate(program.kernels):
        if isinstance(kernel, Contract):
            assert contract is not None, f"{kernel.op} needs a writer of contract kernels"
            codes.append(contract(f"k{i}", kernel, slots, vector_bytes))
        else:
            codes.append(_code(f"k{i}", kernel, slots, vector_bytes))
    declared = {name: line for code in codes for name, line in code.declared.items()}
    bodies: dict[str, str] = {}
    functions = [c.text.replace("@BODY", "@" + bodies.setdefault(c.body, f"body{len(bodies)}"))
                 for c in codes]
    written = [body.replace("@BODY", "@" + name) for body, name in bodies.items()]
    return Module("\n".join([*written, *functions, *declared.values(), ""]), tuple(codes), slots)


def _code(name: str, kernel: Kernel, slots: dict[Buffer, int], vector_bytes: int) -> Code:
    """The function of a kernel and its body."""
    if 0 in kernel.buffer.shape:
        return Code(name, Writer().function(f"void @{name}(ptr, i64, i64)"), "", {}, 0, "empty")
    loops = Loops(convert(kernel), vector_bytes)
    w = Writer()
    buffers = list(dict.fromkeys([*kernel.buffers, *loops.nest.buffers]))
    pointers = {b: Val(w, f"%p{k}", "ptr") for k, b in enumerate(buffers)}
    loops.write(w, pointers, Val(w, "%begin", "i64"), Val(w, "%end", "i64"))
    access = ["" if b in kernel.buffers else "readonly " for b in buffers]
    types = ", ".join(f"ptr noalias nocapture {how}%p{k}" for k, how in enumerate(access))
    body = w.function(f"internal void @BODY({types}, i64 %begin, i64 %end) noinline nounwind")
    mode = f"tile {loops.tile}" if loops.tile else "loop"
    text = caller(name, "BODY", [slots[b] for b in buffers])
    return Code(name, text, body, w.declared, loops.items, mode)


def caller(name: str, function: str, slots: Sequence[int]) -> str:
    """name(table, begin, end): calls function(pointers..., begin, end) with the pointers that are
    at these places of the table."""
    w = Writer()
    table, begin, end = Val(w, "%table", "ptr"), Val(w, "%begin", "i64"), Val(w, "%end", "i64")
    pointers = [w.load(w.at(table, "ptr", w.value(slot)), "ptr") for slot in slots]
    w.run(function, *pointers, begin, end)
    return w.function(f"void @{name}(ptr %table, i64 %begin, i64 %end) nounwind")
