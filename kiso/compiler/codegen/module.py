"""A program as one LLVM module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kiso.compiler.codegen.convert import convert, reads, sections
from kiso.compiler.codegen.kernel import Code, uniform, write_kernel
from kiso.compiler.loops import Buffer, Contract, Program
from kiso.errors import GraphError

__all__ = ["Module", "Writer", "generate"]

Writer = Callable[[str, Contract, dict[Buffer, int], int], Code]


@dataclass(frozen=True)
class Module:
    """IR text; `slots` is the place of each buffer in the table of pointers.

    Functions: each kernel as `name(table, begin, end)`; the runtime adds the one that calls them.
    """

    text: str
    kernels: tuple[Code, ...]
    slots: dict[Buffer, int]


def _unknown(name: str, contract: Contract, slots: dict[Buffer, int], vector_bytes: int) -> Code:
    raise GraphError(f"{contract.op} is left to a contract kernel, but generate() got no writer.")


def generate(program: Program, vector_bytes: int, contract: Writer = _unknown) -> Module:
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
            codes.append(contract(f"k{i}", kernel, slots, vector_bytes))
        else:
            nests = sections(kernel)
            if len(nests) > 1 and not uniform(nests, vector_bytes):
                nests = [convert(kernel)]
            codes.append(write_kernel(f"k{i}", nests, slots, vector_bytes))
    declared = {name: line for code in codes for name, line in code.declared.items()}
    bodies: dict[str, str] = {}
    functions = [c.text.replace("@BODY", "@" + bodies.setdefault(c.body, f"body{len(bodies)}"))
                 for c in codes]
    written = [body.replace("@BODY", "@" + name) for body, name in bodies.items()]
    text = "\n".join([*written, *functions, *declared.values(),
                      "attributes #0 = { noinline nounwind }", ""])
    return Module(text, tuple(codes), slots)
