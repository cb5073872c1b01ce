"""Module: a layer or a whole net, written as a Python class with typed fields and `forward`.

    class Scale(nn.Module):
        gain: nn.Parameter

        def __init__(self, features: int):
            self.gain = nn.Parameter(np.ones(features))

        def forward(self, x):
            return x * self.gain

Whatever is assigned to an attribute is found by its kind: a `Parameter` is trained, a `Buffer` is
kept, a `Module` (or a list, tuple or dict of them) is a child. Names are the dotted paths of
attributes, as in PyTorch: "features.0.weight".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np

from kiso.autograd import Tensor
from kiso.errors import ConfigError, ShapeError
from kiso.nn import state, watching
from kiso.nn.parameter import Buffer, Changes, Parameter
from kiso.ops.operators import Operators

if TYPE_CHECKING:
    from kiso.nn.summary import Summary

__all__ = ["Module", "Slot"]

_PLAIN = (bool, int, float, str, tuple)


class Slot(NamedTuple):
    """Where a tensor of a model lives: its name, its layer, the attribute, the tensor itself."""

    name: str
    owner: Module
    attribute: str
    kind: str  # "parameter" or "buffer"
    value: Tensor


class Module:
    """Base of all layers and nets. Subclasses write `forward(self, x)` with `kiso.ops`."""

    training: bool
    _kinds: dict[str, str]  # attribute -> "parameter" or "buffer", in the order of assignment

    def __new__(cls, *_: Any, **__: Any) -> Self:
        # Here and not in __init__, so that a subclass may leave super().__init__() out.
        self = super().__new__(cls)
        vars(self).update(training=True, _kinds={})
        return self

    def forward(self, *xs: Any, **options: Any) -> Any:
        """The layer's function; called as `layer(x)`."""
        raise NotImplementedError(f"{type(self).__name__} has no forward; write one.")

    def __call__(self, *xs: Any, **options: Any) -> Any:
        """Run `forward`. Arrays become Tensors; a ShapeError says in which layer it arose."""
        xs = tuple(Tensor(x) if isinstance(x, np.ndarray) else x for x in xs)
        watchers = watching.active()
        for watcher in watchers:
            watcher.before(self, xs)
        try:
            y = self.forward(*xs, **options)
        except ShapeError as error:
            raise _located(self, xs, error) from error.__cause__
        for watcher in reversed(watchers):
            watcher.after(self, xs, y)
        return y

    # Attributes ---------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        kind = self._kinds.get(name)
        if isinstance(value, Parameter):
            self._kinds[name] = "parameter"
        elif isinstance(value, Buffer):
            self._kinds[name] = "buffer"
        elif isinstance(value, np.ndarray | Operators) and kind == "buffer":
            value = Buffer(value)
        elif isinstance(value, np.ndarray | Operators) and kind == "parameter":
            raise ConfigError(f"{type(self).__name__}.{name} is a parameter; to replace it assign "
                              f"nn.Parameter(value), to change its values set {name}.data.")
        elif kind is not None:
            del self._kinds[name]
        elif any(isinstance(part, Parameter | Buffer) for part in _parts(value).values()):
            kind = type(cast("object", value)).__name__
            raise ConfigError(f"{type(self).__name__}.{name}: parameters in a {kind} would "
                              "not be found; assign each to an attribute of its own.")
        object.__setattr__(self, name, value)
        Changes.noted()

    def __delattr__(self, name: str) -> None:
        self._kinds.pop(name, None)
        object.__delattr__(self, name)
        Changes.noted()

    def own_parameters(self) -> dict[str, Any]:
        """Parameters of this module itself, by attribute, without those of its children."""
        return {n: vars(self)[n] for n, kind in self._kinds.items() if kind == "parameter"}

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Modules in attributes, also in lists, tuples and dicts ("layers.0")."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            else:
                for key, part in _parts(value).items():
                    if isinstance(part, Module):
                        yield f"{name}.{key}", part

    def children(self) -> Iterator[Module]:
        """The modules that this one consists of."""
        for _, child in self.named_children():
            yield child

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module ("" or the prefix) and all below it, parents first, each once."""
        seen: set[int] = set()
        for name, module in _walk(self, prefix, ()):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def slots(self) -> Iterator[Slot]:
        """Every place that holds a parameter or buffer; a shared one appears at each place."""
        for prefix, module in _walk(self, "", ()):
            for attribute, kind in module._kinds.items():
                name = f"{prefix}.{attribute}" if prefix else attribute
                yield Slot(name, module, attribute, kind, vars(module)[attribute])

    def _named(self, kind: str) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for slot in self.slots():
            if slot.kind == kind and id(slot.value) not in seen:
                seen.add(id(slot.value))
                yield slot.name, slot.value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their dotted names; a shared one once, under its first name."""
        return self._named("parameter")

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """All buffers with their dotted names."""
        return self._named("buffer")

    def parameters(self) -> Iterator[Parameter]:
        """All parameters."""
        for _, parameter in self.named_parameters():
            yield parameter

    def buffers(self) -> Iterator[Buffer]:
        """All buffers."""
        for _, buffer in self.named_buffers():
            yield buffer

    def parameter_count(self) -> int:
        """How many numbers training can change."""
        return sum(p.size for p in self.parameters())

    # State --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by name, plain arrays: what a checkpoint holds."""
        return {slot.name: np.array(slot.value.data) for slot in self.slots()}

    def load_state_dict(self, values: Mapping[str, Any], strict: bool = True) -> state.Mismatch:
        """Take parameters and buffers from `values` (arrays or Tensors), all of them or none.

        Returns what did not fit: names missing and unexpected (only with strict=False).
        Errors: CheckpointError listing every missing, unexpected and wrong-shaped name.
        """
        return state.load(self, values, strict)

    def train(self, mode: bool = True) -> Self:
        """Learning phase: dropout drops, batch norm uses the batch. Returns the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Inference phase: every unit works, batch norm uses its running statistics."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def astype(self, dtype: Any) -> Self:
        """Convert all floating-point parameters and buffers: float64 for gradient checks."""
        for slot in self.slots():
            if slot.value.dtype.kind == "f":
                slot.value.data = slot.value.data.astype(dtype)
                slot.value.grad = None
        return self

    def followed_by(self, activation: str | None) -> str | None:
        """Told by a container which activation comes next; returns what a layer before this sees.

        Layers with weights choose the scale of their first values by it, layers that only pass
        values on return it unchanged, activations return their own name. None: nothing known.
        """
        return None

    # Looking at it ------------------------------------------------------------------------------

    def summary(self, input_shape: Sequence[Any] | int, *, batch_size: int = 1,
                dtype: str = "float32") -> Summary:
        """Table of layers: output shape, parameters, multiply-adds, memory of activations.

        `input_shape` is that of one sample, (1, 28, 28), or a list of them for several inputs.
        Nothing is computed: it works on shapes, for a net of any size.
        """
        from kiso.nn.summary import summarise

        return summarise(self, input_shape, batch_size=batch_size, dtype=dtype)

    def extra_repr(self) -> str:
        """What stands in the parentheses of `repr`: by default all plain typed fields."""
        fields = [name for base in reversed(type(self).__mro__) for name in _annotated(base)
                  if name != "training" and not name.startswith("_")]
        values = {name: getattr(self, name, None) for name in fields}
        return ", ".join(f"{name}={value!r}" for name, value in values.items()
                         if isinstance(value, _PLAIN))

    def __repr__(self) -> str:
        name, options = type(self).__name__, self.extra_repr()
        lines = [f"({key}): {child!r}" for key, child in self.named_children()]
        if not lines:
            return f"{name}({options})"
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{name}({options}\n  {body}\n)"

    def _repr_html_(self) -> str:
        from kiso.nn.html import module_html

        return module_html(self)


class LocatedShapeError(ShapeError):
    """A ShapeError that knows in which layer of a model it arose."""

    def __init__(self, module: Module, shapes: Sequence[Any], reason: str):
        super().__init__(reason)
        self.module = module  # the innermost layer
        self.outermost = module  # as far up as the error has come
        self.path: tuple[str, ...] = ()
        self.shapes = tuple(shapes)
        self.reason = reason

    def __str__(self) -> str:
        layer = f"{type(self.module).__name__}({self.module.extra_repr()})"
        where = " ".join([".".join(self.path), layer]).strip()
        given = " and ".join(map(str, self.shapes))
        return f"in layer {where}, input {given}: {self.reason}"


def _located(module: Module, xs: Sequence[Any], error: ShapeError) -> LocatedShapeError:
    """The error with this module noted: as its place, or as the next step of the path to it."""
    if not isinstance(error, LocatedShapeError):
        shapes = [tuple(x.shape) for x in xs if hasattr(x, "shape")]
        return LocatedShapeError(module, shapes, str(error))
    if error.outermost is not module:
        names = [n for n, child in module.named_children() if child is error.outermost]
        error.path = (*names[:1], *error.path)
        error.outermost = module
    return error


def _annotated(cls: type) -> list[str]:
    """Names of the typed fields that a class itself declares."""
    try:
        return [name for name, kind in getattr(cls, "__annotations__", {}).items()
                if "ClassVar" not in str(kind)]
    except NameError:  # Python 3.14 looks a type up only now, and it may be known to checkers alone
        return []


def _parts(value: Any) -> dict[Any, Any]:
    """The elements of a list, tuple or dict; nothing for anything else."""
    if isinstance(value, list | tuple):
        return dict(enumerate(cast("Sequence[Any]", value)))
    return cast("dict[Any, Any]", value) if isinstance(value, dict) else {}


def _walk(module: Module, prefix: str, above: tuple[int, ...]) -> Iterator[tuple[str, Module]]:
    """All modules with their paths, parents first; shared ones at each place."""
    if id(module) in above:
        raise ConfigError(f"{type(module).__name__} at {prefix!r} contains itself; keep a parent "
                          "out of its children's attributes.")
    yield prefix, module
    for name, child in module.named_children():
        yield from _walk(child, f"{prefix}.{name}" if prefix else name, (*above, id(module)))
