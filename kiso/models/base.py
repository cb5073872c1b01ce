"""What all nets of the zoo share: their base class, their cards, and the table of names.

A family is one file: its blocks, its net, a card, and one short function for each member, marked
with `@net`, which enters it into `MODELS` under its own name. Attributes are called as in PyTorch
and torchvision, so that weights carry over by name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec, TypedDict, TypeVar, cast, get_args, get_type_hints

import numpy as np

from kiso import nn
from kiso.errors import ConfigError
from kiso.nn.checks import number
from kiso.nn.init import fans
from kiso.ops import Array, Shape, Value
from kiso.text import tr

__all__ = ["FROM_DATA", "IMAGENET", "MODELS", "SMALL_BELOW", "Card", "Chain", "Common", "Entry",
           "Large", "Net", "Size", "Sized", "call_text", "classes_of", "he_out", "is_small", "net",
           "reached", "restored", "scaled", "sides", "text_net"]

Size = int | tuple[int, int]
P = ParamSpec("P")
N = TypeVar("N", bound="Net")

IMAGENET = (3, 224, 224)
SMALL_BELOW = 64  # pixels: 32 times as few on the last map would be less than 2
FROM_DATA = ("num_classes", "in_channels", "input_size")  # options that the data decide


class Sized(TypedDict, total=False):
    """Options of all nets for images. in_channels: 3 for colour, 1 for grey. input_size: pixels, or
    (height, width)."""

    in_channels: int
    input_size: Size


class Common(Sized, total=False):
    """Options of most nets. width: factor for the number of channels."""

    width: float


class Large(Common, total=False):
    """Options of nets for 224 x 224 pixels. small: the variant for small images, True or False;
    None: by input_size."""

    small: bool | None


class Chain(nn.Module):
    """y = last part(... first part(x)): the children one after the other, in the order in which
    they were assigned. A Sequential whose layers have names."""

    def forward(self, x: Value) -> Value:
        """What the parts make of x, one after the other."""
        for part in self.children():
            x = part(x)
        return x


class Net(Chain):
    """A net of the zoo. `text` builds it again, as `--model` takes it: "resnet18(width=0.5)"."""

    text: str = ""
    small: bool = False

    def extra_repr(self) -> str:
        """The text alone."""
        return self.text


@dataclass(frozen=True)
class Card:
    """What a net is, for people: which task, what structure, how accurate."""

    year: int  # of the paper; 0: Kiso's own
    source: str  # the paper
    task: str
    structure: str
    accuracy: str = ""  # the paper's figure; "": it has none
    measured: str = ""  # ours; "": not measured yet
    differences: tuple[str, ...] = ()  # from torchvision's net of this name, or the paper's
    recipe: str = ""  # how it is trained (train/recipes.py); "": the one of its own name, if any
    links: int = 0  # uses of weights and biases in a sample, where the paper counts them


def reached(accuracy: str, data: str, epochs: int) -> str:
    """For Card.measured: what docs/benchmarks.md shows with its command."""
    return tr("{accuracy} % on the test part of {data} after {epochs} epochs", accuracy=accuracy,
              data=data, epochs=epochs)


def restored(psnr: str, data: str, epochs: int) -> str:
    """The same for a net that gives pictures back."""
    return tr("{psnr} dB PSNR on the test part of {data} after {epochs} epochs", psnr=psnr,
              data=data, epochs=epochs)


@dataclass(frozen=True)
class Entry:
    """A name of the table: the net's card, the sample and the number of classes that it was made
    for, what options it takes (name -> type), and how it is built."""

    name: str
    card: Callable[[str], Card]
    shape: Shape
    classes: int
    make: Callable[[Shape, int, Mapping[str, Any]], nn.Module]  # of a sample, outputs, options
    options: Callable[[], dict[str, Any]] = dict
    maps: bool = False  # it puts out pictures, not one value for each class


MODELS: dict[str, Entry] = {}


def text_net(name: str, text: Callable[[Shape], str], card: Callable[[str], Card],
             shape: Shape) -> None:
    """Enter a net that is a description, made for the shape of a sample."""
    def make(sample: Shape, outputs: int, _: Mapping[str, Any]) -> nn.Module:
        return nn.from_text(text(sample), sample, outputs)

    MODELS[name] = Entry(name, card, shape, 10, make)


def sides(size: Size) -> tuple[int, int]:
    """Height and width."""
    return (size, size) if isinstance(size, int) else size


def is_small(size: Size, small: bool | None = None) -> bool:
    """Whether a net for 224 x 224 pixels takes its variant for small images."""
    return min(sides(size)) < SMALL_BELOW if small is None else small


def scaled(channels: float, width: float) -> int:
    """That many times the channels, at least one.  Errors: ConfigError for width <= 0."""
    return max(1, round(channels * number("model", "width", width, 0, open_low=True)))


def he_out(shape: Shape, rng: np.random.Generator) -> Array:
    """First weights N(0, 2 / fan_out), which keep the size of gradients.  He et al. 2015."""
    return nn.init.normal(shape, rng, std=(2 / fans(shape)[1]) ** 0.5)


def call_text(name: str, options: Mapping[str, Any]) -> str:
    """A net in words: name(option=value, flag)."""
    words = [key if value is True else f"{key}={_word(value)}" for key, value in options.items()]
    return f"{name}({', '.join(words)})" if words else name


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def classes_of(build: Callable[..., Any]) -> int | None:
    """The number of classes that a net was made for: the default of its function; None: it has no
    classes."""
    known = inspect.signature(build).parameters.get("num_classes")
    return None if known is None else known.default


def net(card: Callable[[str], Card], shape: Shape = IMAGENET, maps: bool = False
        ) -> Callable[[Callable[P, N]], Callable[P, N]]:
    """Decorator: enter a function that builds a net into the table, with its card and the sample
    that it was made for. What it builds knows its own text. maps: it puts out pictures."""
    def enter(build: Callable[P, N]) -> Callable[P, N]:
        name, classes = build.__name__, classes_of(build)

        def options() -> dict[str, Any]:
            kinds: dict[str, Any] = get_type_hints(build)
            (shared,) = get_args(kinds.pop("options"))  # of Unpack[Large]
            kinds |= get_type_hints(shared)
            return {k: kind for k, kind in kinds.items() if k not in (*FROM_DATA, "return")}

        @functools.wraps(build)
        def made(*args: P.args, **given: P.kwargs) -> N:
            model = build(*args, **given)
            chosen = {k: v for k, v in given.items() if k not in (*FROM_DATA, "small")}
            if "small" in options():
                chosen["small"] = model.small  # told in any case: the rule for it may change
            model.text = call_text(name, chosen)
            return model

        def make(sample: Shape, outputs: int, chosen: Mapping[str, Any]) -> nn.Module:
            if len(sample) != 3:
                raise ConfigError(tr("the model {name} takes images (channels, height, width), but "
                                     "the data have the shape {shape}; use mlp or tabular.",
                                     name=name, shape=sample))
            heads = {} if classes is None else {"num_classes": outputs}
            return cast("Callable[..., N]", made)(
                **heads, in_channels=sample[0], input_size=sample[1:], **chosen)

        MODELS[name] = Entry(name, card, shape, classes or shape[0], make, options, maps)
        return made
    return enter
