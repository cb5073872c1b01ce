"""Models by name: what `--model` takes, a name with options or a description in text."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from kiso import nn
from kiso.errors import ConfigError, DescriptionError
from kiso.models.base import MODELS, Entry, Net
from kiso.models.call import head, parse_call
from kiso.text import tr

__all__ = ["build", "create", "default_model", "find", "no_name", "other_shape", "text_of"]


def find(name_or_text: str) -> Entry | None:
    """What the table says of a name (with or without options); None for a description.

    Errors: DescriptionError for options that the net does not take.
    """
    call = parse_call(name_or_text)
    return None if call is None else call[0]


def build(name_or_text: str, input_shape: Sequence[int] | None = None,
          outputs: int | None = None) -> nn.Module:
    """A model by name ("cnn", "resnet18(width=0.5)") or from a description ("flatten linear10").

    `input_shape` is that of one sample, `outputs` the number of classes or target values; without
    them a name stands for the net as it was published. Errors: DescriptionError with near names;
    ConfigError for a description without an input shape, and for impossible options.
    """
    call = parse_call(name_or_text)
    if call is not None:
        entry, options = call
        return entry.make(tuple(input_shape or entry.shape), outputs or entry.classes, options)
    if input_shape is None:
        raise ConfigError(no_name(name_or_text) + " " + tr(
            "Layers in words need the shape of a sample, for example --input 1x28x28."))
    try:
        return nn.from_text(name_or_text, input_shape, outputs)
    except DescriptionError as error:
        raise _with_names(error, name_or_text) from None


def no_name(text: str) -> str:
    """What to say of a text that is no model's name."""
    return tr("{text!r} is no model's name.", text=text) + " " + _near(head(text))


def _with_names(error: DescriptionError, text: str) -> DescriptionError:
    """The error, with the names of models where one may have been meant."""
    first = head(text)
    rest = text.strip()[len(first):].strip()
    if first in MODELS and first != "linear":
        return DescriptionError(f"{error}\n" + tr(
            "{name} is a whole net: it stands alone, its options in brackets.", name=first))
    if rest and not (rest.startswith("(") and difflib.get_close_matches(first, MODELS)):
        return error
    return DescriptionError(f"{error}\n{_near(first)}")


def _near(word: str) -> str:
    """Names like this one, and where all of them are."""
    near = difflib.get_close_matches(word, MODELS, 3)
    hint = tr("Did you mean {words}?", words=", ".join(near)) + " " if near else ""
    return hint + tr("`kiso models` lists all models by name.")


def create(name_or_text: str, input_shape: Sequence[int], outputs: int | Sequence[int]
           ) -> nn.Module:
    """`build`, with as many outputs as are needed: a number of values, or the shape (channels,
    height, width) of a picture.

    Errors: those of `build`; ConfigError if the model puts out anything else.
    """
    wanted = (outputs,) if isinstance(outputs, int) else tuple(outputs)
    entry, picture = find(name_or_text), len(wanted) > 1
    if entry is not None and entry.maps and not picture:
        raise ConfigError(tr("the model {name} puts out pictures, and {count} values are needed; "
                             "`kiso train DATA --model {name}` lets it give pictures back.",
                             name=entry.name, count=wanted[0]))
    # A net has as many maps as the picture has channels; a description says itself how many.
    model = build(name_or_text, input_shape, wanted[0] if entry or not picture else None)
    shape = nn.output_shape(model, tuple(input_shape))
    if shape != wanted:
        raise other_shape(shape, wanted)
    return model


def other_shape(found: Sequence[int], wanted: Sequence[int]) -> ConfigError:
    """The error for a model that puts out something else."""
    if len(wanted) > 1:
        sizes = ("x".join(map(str, shape)) for shape in (found, wanted))
        return ConfigError(tr("the model puts out {found} for one sample, but pictures of {wanted} "
                              "are to be given back; end it with as many pixels and {channels} "
                              "maps, for example with conv{channels}k3p1.", found=next(sizes),
                              wanted=next(sizes), channels=wanted[0]))
    return ConfigError(tr("the model puts out {shape} for one sample, but {count} values are "
                          "needed; end it with linear{count}.", shape=tuple(found),
                          count=wanted[0]))


def text_of(model: nn.Module) -> str:
    """What `create` builds the model from again: its name with options, or its description.

    Errors: DescriptionError naming the first layer that no word stands for.
    """
    return model.text if isinstance(model, Net) and model.text else nn.to_text(model)


def default_model(kind: str, input_shape: Sequence[int], outputs: int) -> str:
    """Name of the model to begin with: "cnn" for images, "tabular" for tables."""
    if kind == "image" and len(input_shape) == 3 and min(tuple(input_shape)[1:]) >= 4:
        return "cnn"
    return "tabular" if kind == "table" else "mlp"
