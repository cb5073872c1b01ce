"""From a contract in a plan to steps that threads can share: packing, the product, summing up.

    product                 one step
    convolution, gradient   pack the weights; slide over the image
    weight gradient         tiles of it; or PARTS sums over ranges of pixels, added in order

Shapes alone say which, so the order of a sum does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from kiso import ops
from kiso.compiler.codegen import ir
from kiso.compiler.codegen.module import caller
from kiso.compiler.contract.conv import SlidingDriver
from kiso.compiler.contract.conv_weights import by_columns, conv_weight_gradient, conv_weight_sum
from kiso.compiler.contract.emit import Driver, Library
from kiso.compiler.contract.matmul import Product, matmul
from kiso.compiler.contract.shape import Conv, side_by_side
from kiso.compiler.contract.tiles import Machine
from kiso.compiler.contract.winograd import WinogradDriver, few, fits, side, worth
from kiso.compiler.contract.winograd_weights import (
    WinogradWeights,
    shared_parts,
    weights_side,
    weights_worth,
)
from kiso.compiler.loops import Buffer, Contract, Program
from kiso.ops import winograd

__all__ = ["Choose", "Expansion", "Load", "Source", "Step", "expand", "version"]

PARTS = 4
FORMS = {0: "", 2: "F(2x2, 3x3)", 4: "F(4x4, 3x3)"}  # by the side of Winograd's tiles
SMALL, SMALL_PARTS = 4096, 12  # for so few weights; fair to 1, 2, 3 and 4 threads


@dataclass(frozen=True, eq=False)
class Step(Contract):
    """A call of a driver. `arguments` stand for its pointers (None: the thread's scratch memory).
    `form` is how it computes: "" directly, or such as "F(4x4, 3x3)" for Winograd."""

    driver: Driver = field(kw_only=True)
    arguments: tuple[Buffer | None, ...] = field(kw_only=True)
    scratch: Buffer = field(kw_only=True)
    operations: int = field(default=0, kw_only=True)  # multiplications and additions
    form: str = field(default="", kw_only=True)

    @property
    def items(self) -> int:
        """How many items threads can share."""
        return self.driver.units

    def text(self, name: str, slots: dict[Buffer, int]) -> str:
        """The function `name(table, begin, end)`."""
        return caller(name, self.driver.name, [slots[b or self.scratch] for b in self.arguments])


@dataclass(frozen=True)
class Source:
    """IR of some drivers; `size` is the length of the packed weights."""

    text: str
    drivers: tuple[Driver, ...]
    size: int = 0


Load = Callable[[str, Callable[[], Source]], tuple[tuple[Driver, ...], int]]
Choose = Callable[[Contract, bool], bool]  # Winograd's form? And whether the filters are kept


@dataclass(frozen=True, eq=False)
class Expansion:
    """A program whose contracts are steps, and scratch for each thread."""

    program: Program
    scratch: Buffer
    floats: int


def expand(program: Program, machine: Machine, load: Load, form: str | Choose,
           kept: Collection[Buffer] = ()) -> Expansion:
    """Replace every contract by its steps. `load(key, write)` gives drivers and size of a source:
    as it did before for this key, or as `write` says. Keys name all that the code depends on.
    form: of convolutions, "auto", "direct" or "winograd" (see `config.conv`), or who chooses. kept:
    arrays that are the same in many calls, so that filters are packed once."""
    made = _Expander(machine, load, form, kept)
    for kernel in program.kernels:
        if isinstance(kernel, Contract):
            made.contract(kernel)
        else:
            made.program.kernels.append(kernel)
    return Expansion(made.program, made.scratch, made.floats)


@cache
def version() -> str:
    """What the generator is: the hash of its source, the writer's and that of the matrices."""
    digest = sha256()
    others = Path(ir.__file__), Path(winograd.__file__)
    for path in (*sorted(Path(__file__).parent.glob("*.py")), *others):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _Expander:
    def __init__(self, machine: Machine, load: Load, form: str | Choose, kept: Collection[Buffer]):
        self.machine = machine
        self.kept = kept
        self.load = load
        self.form = form
        self.program = Program()
        self.scratch = floats(1, "scratch")
        self.floats = 0
        self.known: dict[str, tuple[tuple[Driver, ...], int]] = {}

    def made(self, stem: str, write: Callable[[Library, str], tuple[tuple[Driver, ...], int]],
             *numbers: Any) -> tuple[tuple[Driver, ...], int]:
        """Drivers that depend on these numbers alone; equal ones are written once."""
        text = repr((version(), self.machine, stem, numbers))
        key = f"{stem}_{sha256(text.encode()).hexdigest()[:16]}"

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
             operations: int = 0, extra: Sequence[Buffer] = (), form: str = "") -> None:
        """One call: the driver's pointers are the given buffers, `into`, what the work after it
        needs, then scratch if any."""
        every: list[Buffer | None] = [*given, into, *extra]
        every += [None] * (len(driver.pointers) - len(every))
        self.floats = max(self.floats, driver.scratch)
        self.program.kernels.append(Step(
            contract.op, (*given, *extra, self.scratch), (), into, contract.name, driver=driver,
            arguments=tuple(every), scratch=self.scratch, operations=operations,
            form=form))

    def product(self, contract: Contract) -> None:
        """C = op(A) op(B)."""
        rows, columns = contract.buffer.shape
        depth = contract.inputs[0].shape[0 if contract.turned[0] else 1]
        product, after = Product(rows, columns, depth, *contract.turned), contract.after
        (driver,), _ = self.made("matrix_product", lambda library, name: (
            (matmul(library, product, after, name),), 0), product, after)
        self.step(contract, driver, contract.inputs[:2], contract.buffer,
                  2 * rows * columns * depth, contract.inputs[2:])

    def slide(self, contract: Contract) -> None:
        """A convolution or the gradient of its input."""
        backward = isinstance(contract.op, ops.ConvInputGrad)
        images, W, *extra = contract.inputs
        x, y = (contract.buffer, images) if backward else (images, contract.buffer)
        conv = numbers(contract.op, x.shape, y.shape, (W.shape[2], W.shape[3]))
        strides, kept = taps_first(W), W in self.kept

        taken = self.winograd(contract, conv, kept,
                              lambda: worth(self.machine, conv, backward, kept))
        m = side(conv, backward) if taken else 0
        first = m > 0 and not kept and few(conv, backward)

        def write(library: Library, name: str) -> tuple[tuple[Driver, ...], int]:
            rest = backward, contract.after, name
            if m:
                found = WinogradDriver(library, conv, strides, *rest, m, first)
                return (found.packer(), found.main), found.packed_size
            found = SlidingDriver(library, conv, *rest)
            return (found.packer(strides), found.main), found.packed_size
        (packer, main), size = self.made("convolution", write, conv, backward, strides,
                                         contract.after, m, first)
        packed = floats(size, "packed")
        self.step(contract, packer, (images if first else W,), packed)
        self.step(contract, main, (packed, W) if first else (images, packed), contract.buffer,
                  2 * prod(y.shape) * prod(W.shape[1:]), extra, FORMS[m])

    def winograd(self, contract: Contract, conv: Conv, kept: bool, faster: Callable[[], bool]
                 ) -> bool:
        """Whether a convolution takes Winograd's form."""
        if self.form == "direct" or not fits(conv):
            return False
        if not isinstance(self.form, str):
            return self.form(contract, kept)
        return self.form == "winograd" or faster()

    def weights(self, contract: Contract) -> None:
        """The gradient of the weights, or partial sums and their sum."""
        x, gy = contract.inputs
        W = contract.buffer
        conv = numbers(contract.op, x.shape, gy.shape, (W.shape[2], W.shape[3]))
        size, strides = prod(W.shape), taps_first(W)
        operations = 2 * prod(gy.shape) * prod(W.shape[1:])
        if self.winograd(contract, conv, False, lambda: weights_worth(self.machine, conv)):
            self.winograd_weights(contract, conv, operations)
            return
        many = size <= SMALL and conv.batch >= SMALL_PARTS
        parts = 0 if by_columns(conv) else SMALL_PARTS if many else PARTS
        shares, wide = max(1, parts), side_by_side(conv, self.machine.lanes)
        (driver,), _ = self.made("weight_gradient", lambda library, name: (
            (conv_weight_gradient(library, wide, parts, name),), 0), wide, parts)
        alone = not parts and W.order == (2, 3, 1, 0)
        into = W if alone else floats(
            shares * prod(wide.kernel) * W.shape[1] * wide.outputs, "parts")
        self.step(contract, driver, (x, gy), into, operations)
        if not alone:
            (total,), _ = self.made("weight_sum", lambda library, name: (
                (conv_weight_sum(library, conv, shares, strides, wide, name),), 0),
                conv, shares, strides)
            self.step(contract, total, (into,), W)

    def winograd_weights(self, contract: Contract, conv: Conv, operations: int) -> None:
        """The gradient of the weights in Winograd's form."""
        W = contract.buffer
        parts, strides = shared_parts(conv), taps_first(W)

        def write(library: Library, name: str) -> tuple[tuple[Driver, ...], int]:
            found = WinogradWeights(library, conv, parts, strides, name)
            total = (found.total(f"{name}_sum"),) if parts else ()
            return (found.main, *total), found.sums_size
        (main, *total), size = self.made("winograd_weights", write, conv, parts, strides)
        into = floats(size, "parts") if parts else W
        self.step(contract, main, contract.inputs, into, operations, form=FORMS[weights_side(conv)])
        if parts:
            self.step(contract, total[0], (into,), W)


def floats(count: int, name: str) -> Buffer:
    """Memory between two steps."""
    return Buffer((count,), np.dtype(np.float32), (0,), name)


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
