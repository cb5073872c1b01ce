"""The table of a model's layers: output shape, parameters, multiply-adds, memory.

Multiply-adds count matrix products and convolutions, as papers do: one for each product that is
summed. Activation memory is that of each layer's output, which training keeps for the way back;
layers that only rename axes or pass their input on need none.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np

from kiso import ops
from kiso.autograd import Tensor
from kiso.errors import ConfigError
from kiso.nn.lenet import SparseConv2d
from kiso.nn.module import Module
from kiso.nn.probe import run_shapes
from kiso.nn.watching import watch
from kiso.ops import Op, Shape
from kiso.text import tr

__all__ = ["Summary", "SummaryRow", "multiply_adds", "summarise"]


@dataclass(frozen=True)
class SummaryRow:
    """One layer, in the order of calls."""

    name: str  # dotted path; "" for the model itself
    layer: str  # "Linear(in_features=784, out_features=10)"
    output_shape: Any  # a tuple with the batch axis, a list of them, or None if it never ran
    parameters: int
    multiply_adds: int
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """What `Module.summary` returns: print it, show it in a notebook, or read its rows."""

    model: str
    input_shapes: tuple[Shape, ...]  # with the batch axis
    output_shape: Any  # of one sample: without the batch axis; a list for several outputs
    rows: tuple[SummaryRow, ...]
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    activation_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        cells = [self._header(), *map(_cells, self.rows)]
        widths = [max(_width(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = [_line(row, widths) for row in cells]
        rule = "-" * max(map(_width, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, *self._totals()])

    def _header(self) -> list[str]:
        return ["", tr("Layer"), tr("Output shape"), tr("Parameters"), tr("Multiply-adds"),
                tr("Activations")]

    def _totals(self) -> Iterator[str]:
        fixed = self.parameters - self.trainable_parameters
        yield tr("Input: {shape}", shape=" + ".join(map(_shape, self.input_shapes)))
        yield tr("Parameters: {total} ({size}), of which fixed: {fixed}",
                 total=f"{self.parameters:,}", size=_size(4 * self.parameters), fixed=f"{fixed:,}")
        yield tr("Multiply-adds: {total}", total=f"{self.multiply_adds:,}")
        yield tr("Activations: {size}", size=_size(self.activation_bytes))

    def _repr_html_(self) -> str:
        def row(cells: list[str], tag: str) -> str:
            left, right = 'style="text-align:left"', 'style="text-align:right"'
            return "<tr>" + "".join(
                f"<{tag} {left if i < 3 else right}>{html.escape(cell)}</{tag}>"
                for i, cell in enumerate(cells)) + "</tr>"

        body = "\n".join(row(_cells(r), "td") for r in self.rows)
        totals = "<br>".join(map(html.escape, self._totals()))
        return (f"<table><thead>{row(self._header(), 'th')}</thead>\n<tbody>{body}</tbody></table>"
                f"<p>{totals}</p>")


def _cells(row: SummaryRow) -> list[str]:
    several = isinstance(row.output_shape, list)
    shapes = cast("list[Any]", row.output_shape if several else [row.output_shape])
    shape = " + ".join("-" if s is None else _shape(s) for s in shapes)
    return [row.name, row.layer, shape, f"{row.parameters:,}", f"{row.multiply_adds:,}",
            _size(row.activation_bytes)]


def _shape(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "1"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _width(text: str) -> int:
    """Columns on a terminal: East Asian wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _line(cells: list[str], widths: list[int]) -> str:
    padded = [(cell, " " * (w - _width(cell))) for cell, w in zip(cells, widths, strict=True)]
    left, right = padded[:3], padded[3:]
    return "  ".join([c + gap for c, gap in left] + [gap + c for c, gap in right]).rstrip()


def multiply_adds(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> int:
    """Products that one application of an op sums up; 0 for all but products and convolutions."""
    if isinstance(op, ops.MatMul):  # (..., n, k) @ (..., k, m): k for each output
        return math.prod(outs[0]) * ins[0][-1]
    if isinstance(op, ops.Conv):  # W (O, C/groups, *K): C/groups * K for each output
        return math.prod(outs[0]) * math.prod(ins[1][1:])
    if isinstance(op, ops.ConvInputGrad):  # transposed convolution: the same for each input
        return math.prod(ins[0]) * math.prod(ins[1][1:])
    if isinstance(op, ops.ConvWeightGrad):  # (x, gy) -> W: as many as forward
        return math.prod(ins[1]) * math.prod(outs[0][1:])
    return 0


@dataclass
class Frame:
    """A module that is being called."""

    module: Module
    row: int
    children: int = 0
    multiply_adds: int = 0
    computed: bool = False


@dataclass
class Meter:
    """Collects rows while a model runs on shapes."""

    names: dict[int, str]
    own: dict[int, dict[int, int]]  # module -> its parameters -> their sizes
    rows: list[SummaryRow | None] = field(default_factory=list[SummaryRow | None])
    stack: list[Frame] = field(default_factory=list[Frame])
    counted: set[int] = field(default_factory=set[int])

    def restart(self) -> None:
        """Forget what an unfinished run has left."""
        self.rows, self.stack, self.counted = [], [], set()

    def listen(self, op: Op, ins: list[Shape], outs: list[Shape]) -> None:
        """An op was applied by the innermost module."""
        if self.stack:
            self.stack[-1].multiply_adds += multiply_adds(op, ins, outs)
            self.stack[-1].computed |= not isinstance(op, ops.Reshape)

    def before(self, module: Module, xs: Any) -> None:
        """A module is entered; its row is reserved, so that rows stand in reading order."""
        if self.stack:
            self.stack[-1].children += 1
        self.stack.append(Frame(module, len(self.rows)))
        self.rows.append(None)

    def after(self, module: Module, xs: Any, y: Any) -> None:
        """A module is left; containers that computed nothing themselves get no row."""
        frame = self.stack.pop()
        fresh = {p: n for p, n in self.own.get(id(module), {}).items() if p not in self.counted}
        if frame.children and not frame.computed and not fresh:
            return
        self.counted.update(fresh)
        outputs = [t for t in _tensors(y) if hasattr(t, "shape")]
        shapes = [tuple(t.shape) for t in outputs]
        memory = sum(math.prod(t.shape) * t.dtype.itemsize for t in outputs)
        self.rows[frame.row] = SummaryRow(
            self.names.get(id(module), "?"), _label(module),
            shapes[0] if len(shapes) == 1 else shapes, sum(fresh.values()),
            _connected(module, frame.multiply_adds), memory if frame.computed else 0)

    def unused(self, model: Module) -> Iterator[SummaryRow]:
        """Rows for modules with parameters that the model never called."""
        for module in model.modules():
            sizes = {p: n for p, n in self.own[id(module)].items() if p not in self.counted}
            if sizes:
                self.counted.update(sizes)
                yield SummaryRow(self.names[id(module)], _label(module), None,
                                 sum(sizes.values()), 0, 0)


def _connected(module: Module, products: int) -> int:
    """Products by weights that exist: a sparse convolution multiplies by zeros for the rest."""
    return round(products * module.density) if isinstance(module, SparseConv2d) else products


def _label(module: Module) -> str:
    return f"{type(module).__name__}({module.extra_repr()})"


def _tensors(y: Any) -> list[Any]:
    if isinstance(y, dict):
        y = list(cast("dict[Any, Any]", y).values())
    if not isinstance(y, list | tuple):
        return [y]
    return [t for part in cast("list[Any]", y) for t in _tensors(part)]


def _input_shapes(given: Any, batch_size: int) -> tuple[Shape, ...]:
    given = cast("Sequence[Any]", given if isinstance(given, tuple | list) else (given,))
    several = bool(given) and all(isinstance(s, tuple | list) for s in given)
    shapes = [tuple(s) for s in given] if several else [tuple(given)]
    if batch_size < 1 or any(
            not isinstance(n, int | np.integer) or n < 1 for s in shapes for n in s):
        raise ConfigError(f"summary: input shape {given!r} with batch size {batch_size}; expected "
                          "whole numbers of at least 1, for example (1, 28, 28).")
    return tuple((batch_size, *map(int, s)) for s in shapes)


def summarise(model: Module, input_shape: Sequence[Any] | int, *, batch_size: int = 1,
              dtype: str = "float32") -> Summary:
    """See `Module.summary`."""
    shapes = _input_shapes(input_shape, batch_size)
    own = {id(m): {id(p): p.size for p in m.own_parameters().values()} for m in model.modules()}
    names = {id(m): name for name, m in model.named_modules()}
    every: list[Tensor] = list(model.parameters())
    meter = Meter(names, own)

    def start(module: Module, xs: Any) -> None:
        if module is model and meter.stack:
            meter.restart()  # a second run, with numbers, after the first got stuck
        meter.before(module, xs)

    with watch(before=start, after=meter.after):
        outputs = [tuple(t.shape[1:]) for t in _tensors(run_shapes(model, shapes, dtype,
                                                                   meter.listen))]
    rows = [r for r in meter.rows if r is not None] + list(meter.unused(model))
    return Summary(
        type(model).__name__, shapes, outputs[0] if len(outputs) == 1 else outputs,
        tuple(rows), sum(p.size for p in every),
        sum(p.size for p in every if p.requires_grad), sum(r.multiply_adds for r in rows),
        sum(r.activation_bytes for r in rows))
