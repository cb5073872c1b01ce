"""From a contract in a plan to steps that threads can share: packing, the product, summing up.

    product                 one step
    convolution, gradient   pack the weights; slide over the image
    weight gradient         tiles of it; or PARTS sums over ranges of samples, each by one thread:
                            add them in order

Shapes alone say which, so the order of a sum does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.codegen import ir
from kiso.compiler.contract.conv import SlidingDriver
from kiso.compiler.contract.conv_weights import by_columns, conv_weight_gradient, conv_weight_sum
from kiso.compiler.contract.emit import Driver, Library, Machine
from kiso.compiler.contract.matmul import Product, matmul
from kiso.compiler.contract.shape import Conv
from kiso.compiler.loops import Buffer, Contract, Program

__all__ = ["Expansion", "Load", "Source", "Step", "expand"]

PARTS = 4
SMALL, SMALL_PARTS = 4096, 12  # for so few weights; fair to 1, 2, 3 and 4 threads


@dataclass(frozen=True, eq=False)
class Step(Contract):
    """A call of a driver. `arguments` stand for its pointers (None: the thread's scratch memory).

    With `parts`, an item is one of so many equal shares of the units, and the argument `own` is
    cut into as many pieces of `piece` floats.
    """

    driver: Driver = field(kw_only=True)
    arguments: tuple[Buffer | None, ...] = field(kw_only=True)
    scratch: Buffer = field(kw_only=True)
    operations: int = field(default=0, kw_only=True)  # multiplications and additions
    parts: int = field(default=0, kw_only=True)
    own: Buffer | None = field(default=None, kw_only=True)
    piece: int = field(default=0, kw_only=True)

    @property
    def items(self) -> int:
        """How many items threads can share."""
        return self.parts or self.driver.units

    def text(self, name: str, slots: dict[Buffer, int]) -> str:
        """The function `name(table, begin, end)`."""
        pointers: list[str] = []
        lines: list[str] = []
        for i, argument in enumerate(self.arguments):
            slot = slots[argument or self.scratch]
            lines += [f"  %s{i} = getelementptr ptr, ptr %table, i64 {slot}",
                      f"  %p{i} = load ptr, ptr %s{i}"]
            pointers.append(f"ptr %p{i}")
        head = f"define void @{name}(ptr %table, i64 %begin, i64 %end) nounwind {{"
        if not self.parts:
            call = f"  call void @{self.driver.name}({', '.join(pointers)}, i64 %begin, i64 %end)"
            return "\n".join([head, *lines, call, "  ret void", "}"])
        at = self.arguments.index(self.own)
        pointers[at] = "ptr %piece"
        units, parts = self.driver.units, self.parts
        return "\n".join([
            head, "entry:", *lines, "  br label %test", "test:",
            "  %i = phi i64 [%begin, %entry], [%next, %body]",
            "  %more = icmp slt i64 %i, %end", "  br i1 %more, label %body, label %done", "body:",
            "  %next = add i64 %i, 1",
            f"  %low0 = mul i64 %i, {units}", f"  %low = udiv i64 %low0, {parts}",
            f"  %high0 = mul i64 %next, {units}", f"  %high = udiv i64 %high0, {parts}",
            f"  %off = mul i64 %i, {self.piece}",
            f"  %piece = getelementptr float, ptr %p{at}, i64 %off",
            f"  call void @{self.driver.name}({', '.join(pointers)}, i64 %low, i64 %high)",
            "  br label %test", "done:", "  ret void", "}"])


@dataclass(frozen=True)
class Source:
    """IR of some drivers; `size` is the length of the packed weights."""

    text: str
    drivers: tuple[Driver, ...]
    size: int = 0


Load = Callable[[str, Callable[[], Source]], tuple[tuple[Driver, ...], int]]


@dataclass(frozen=True, eq=False)
class Expansion:
    """A program whose contracts are steps, and scratch for each thread."""

    program: Program
    scratch: Buffer
    floats: int


def expand(program: Program, machine: Machine, load: Load) -> Expansion:
    """Replace every contract by its steps. `load(key, write)` gives drivers and size of a source:
    as it did before for this key, or as `write` says. Keys name all that the code depends on."""
    made = _Expander(machine, load)
    for kernel in program.kernels:
        if isinstance(kernel, Contract):
            made.contract(kernel)
        else:
            made.program.kernels.append(kernel)
    return Expansion(made.program, made.scratch, made.floats)


@cache
def _version() -> str:
    """What the generator is: the hash of its source, and of the writer's."""
    digest = sha256()
    for path in (*sorted(Path(__file__).parent.glob("*.py")), Path(ir.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Expander:
    def __init__(self, machine: Machine, load: Load):
        self.machine = machine
        self.load = load
        self.program = Program()
        self.scratch = Buffer((1,), np.dtype(np.float32), (0,), "scratch")
        self.floats = 0
        self.known: dict[str, tuple[tuple[Driver, ...], int]] = {}

    def made(self, write: Callable[[Library, str], tuple[tuple[Driver, ...], int]],
             *numbers: Any) -> tuple[tuple[Driver, ...], int]:
        """Drivers that depend on these numbers alone; equal ones are written once."""
        text = repr((_version(), self.machine, write.__name__, numbers))
        key = f"{write.__name__}_{sha256(text.encode()).hexdigest()[:16]}"

        def source() -> Source:
            library = Library(self.machine, prefix=f"{key}_")
            drivers, size = write(library, key)
            return Source(library.text(), drivers, size)
        if key not in self.known:
            self.known[key] = self.load(key, source)
        return self.known[key]

    def contract(self, contract: Contract) -> None:
        """Append the steps of one contract."""
        if isinstance(contract.op, ops.MatMul):
            self.product(contract)
        elif isinstance(contract.op, ops.ConvWeightGrad):
            self.weights(contract)
        else:
            self.slide(contract)

    def step(self, contract: Contract, driver: Driver, given: Sequence[Buffer], into: Buffer,
             operations: int = 0, extra: Sequence[Buffer] = (), **more: Any) -> None:
        """One call: the driver's pointers are the given buffers, `into`, what the work after it
        needs, then scratch if any."""
        every: list[Buffer | None] = [*given, into, *extra]
        every += [None] * (len(driver.pointers) - len(every))
        self.floats = max(self.floats, driver.scratch)
        self.program.kernels.append(Step(
            contract.op, (*given, *extra, self.scratch), (), into, contract.name, driver=driver,
            arguments=tuple(every), scratch=self.scratch, operations=operations, **more))

    def floats_buffer(self, count: int, name: str) -> Buffer:
        """Memory between two steps."""
        return Buffer((count,), np.dtype(np.float32), (0,), name)

    def product(self, contract: Contract) -> None:
        """C = op(A) op(B)."""
        rows, columns = contract.buffer.shape
        depth = contract.inputs[0].shape[0 if contract.turned[0] else 1]
        product = Product(rows, columns, depth, *contract.turned)

        def matrix_product(library: Library, name: str) -> tuple[tuple[Driver, ...], int]:
            return (matmul(library, product, contract.after, name),), 0
        (driver,), _ = self.made(matrix_product, product, contract.after)
        self.step(contract, driver, contract.inputs[:2], contract.buffer,
                  2 * rows * columns * depth, contract.inputs[2:])

    def slide(self, contract: Contract) -> None:
        """A convolution or the gradient of its input."""
        backward = isinstance(contract.op, ops.ConvInputGrad)
        images, W, *extra = contract.inputs
        x, y = (contract.buffer, images) if backward else (images, contract.buffer)
        conv = numbers(contract.op, x.shape, y.shape, (W.shape[2], W.shape[3]))
        strides = taps_first(W)

        def convolution(library: Library, name: str) -> tuple[tuple[Driver, ...], int]:
            found = SlidingDriver(library, conv, backward, contract.after, name)
            return (found.packer(strides), found.main), found.packed_size
        (packer, main), size = self.made(convolution, conv, backward, strides, contract.after)
        packed = self.floats_buffer(size, "packed")
        self.step(contract, packer, (W,), packed)
        self.step(contract, main, (images, packed), contract.buffer,
                  2 * prod(y.shape) * prod(W.shape[1:]), extra)

    def weights(self, contract: Contract) -> None:
        """The gradient of the weights, or partial sums and their sum."""
        x, gy = contract.inputs
        W = contract.buffer
        conv = numbers(contract.op, x.shape, gy.shape, (W.shape[2], W.shape[3]))
        work = 2 * prod(gy.shape) * prod(W.shape[1:])
        size = prod(W.shape)
        many = size <= SMALL and conv.batch >= SMALL_PARTS
        parts = 0 if by_columns(conv) else SMALL_PARTS if many else PARTS

        def weight_gradient(library: Library, name: str) -> tuple[tuple[Driver, ...], int]:
            return (conv_weight_gradient(library, conv, parts, name=name),), 0
        (driver,), _ = self.made(weight_gradient, conv, parts)
        if not parts and W.order == (2, 3, 1, 0):
            self.step(contract, driver, (x, gy), W, work)
            return
        shares = max(1, parts)
        into = self.floats_buffer(shares * size, "parts")
        self.step(contract, driver, (x, gy), into, work, parts=parts, own=into, piece=size)
        strides = taps_first(W)

        def weight_sum(library: Library, name: str) -> tuple[tuple[Driver, ...], int]:
            return (conv_weight_sum(library, conv, shares, strides, name),), 0
        (total,), _ = self.made(weight_sum, conv, shares, strides)
        self.step(contract, total, (into,), W)


def taps_first(W: Buffer) -> tuple[int, int, int, int]:
    """Strides of weights (O, C, KH, KW) in the order tap row, tap column, channel, output."""
    o, c, k, l = W.strides
    return k, l, c, o


def numbers(op: Any, x: Sequence[int], y: Sequence[int], kernel: tuple[int, int]) -> Conv:
    """The convolution of these shapes; padding is the same on both sides of an axis."""
    batch, channels, height, width = x
    (top, _), (left, _) = op.padding
    return Conv(batch, height, width, channels, y[1], kernel, op.stride, (top, left),
                op.dilation, op.groups)
