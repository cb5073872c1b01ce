"""Models by name: what `--model` takes, a name from the table below or a description in text."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from kiso import nn
from kiso.errors import ConfigError, DescriptionError
from kiso.models.cnn import cnn_text
from kiso.models.mlp import linear_text, mlp_text, tabular_text
from kiso.text import tr

__all__ = ["MODELS", "create", "default_model", "describe"]

# Name -> description for an input shape; a bare `linear` at the end takes the number of outputs.
MODELS: dict[str, Callable[[tuple[int, ...]], str]] = {
    "cnn": cnn_text,
    "linear": linear_text,
    "mlp": mlp_text,
    "tabular": tabular_text,
}


def describe(name_or_text: str, input_shape: Sequence[int]) -> str:
    """The description behind a name; a description stays what it is."""
    make = MODELS.get(name_or_text.strip().lower())
    return name_or_text if make is None else make(tuple(input_shape))


def create(name_or_text: str, input_shape: Sequence[int], outputs: int) -> nn.Sequential:
    """Build a model by name ("cnn", "mlp", ...) or from a description ("flatten linear10").

    `input_shape` is that of one sample, `outputs` the number of classes or target values.
    Errors: DescriptionError with near names; ConfigError if the model puts out another number.
    """
    text = describe(name_or_text, input_shape)
    try:
        model = nn.from_text(text, input_shape, outputs)
    except DescriptionError as error:
        words = name_or_text.split()
        near = difflib.get_close_matches(name_or_text.strip().lower(), MODELS, 2, 0.5)
        if len(words) != 1 or name_or_text.strip().lower() in MODELS:
            raise
        hint = tr("Did you mean {words}?", words=", ".join(near)) + " " if near else ""
        raise DescriptionError(f"{error}\n" + hint + tr(
            "Models by name: {names}.", names=", ".join(MODELS))) from None
    shape = nn.output_shape(model, tuple(input_shape))
    if shape != (outputs,):
        raise ConfigError(tr("the model puts out {shape} for one sample, but {count} values are "
                             "needed; end it with linear{count}.", shape=shape, count=outputs))
    return model


def default_model(kind: str, input_shape: Sequence[int], outputs: int) -> str:
    """Name of the model to begin with: "cnn" for images, "tabular" for tables."""
    if kind == "image" and len(input_shape) == 3 and min(tuple(input_shape)[1:]) >= 4:
        return "cnn"
    return "tabular" if kind == "table" else "mlp"
