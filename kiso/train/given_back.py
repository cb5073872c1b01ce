"""Runs in which a net gives pictures back: which they are, what does not fit them.

A net of the zoo that puts out pictures (`Entry.maps`) can learn nothing else here; layers in words
and modules of one's own need `--task reconstruction`. Classes, if the data have any, stay: by them
the samples are dealt and named.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from kiso import models, nn
from kiso.data import Dataset, Splits
from kiso.data.places import locate
from kiso.errors import ConfigError, DataError
from kiso.models.autoencoder import Autoencoder
from kiso.text import tr
from kiso.train.tasks import RECONSTRUCTION

if TYPE_CHECKING:
    from kiso.train.choose import Chosen
    from kiso.train.options import TrainOptions

__all__ = ["need_pictures", "refuse_tables", "remarked", "settled"]

USUAL = "autoencoder"  # the net where none is named


def settled(options: TrainOptions, own: nn.Module | None) -> TrainOptions:
    """The options with the task, and the net, of a run that gives pictures back.

    Errors: ConfigError for a net that does not fit the task, and for options that do not.
    """
    text = options.model if own is None else own.text if isinstance(own, models.Net) else None
    entry = models.find(text) if text else None
    if entry is not None and entry.maps:
        if options.task not in (None, RECONSTRUCTION):
            raise ConfigError(tr(
                "the model {name} puts out pictures, which is no {task}; leave --task out and it "
                "learns to give pictures back, or choose another model (`kiso models`).",
                name=entry.name, task=options.task))
        options = replace(options, task=RECONSTRUCTION)
    if options.task != RECONSTRUCTION:
        if options.corrupt:
            raise ConfigError(tr("--corrupt is for nets that give pictures back; use it with "
                                 "--model autoencoder, --model unet or --task reconstruction. For "
                                 "classes there is --augment."))
        return options
    if entry is not None and not entry.maps:
        raise ConfigError(tr(
            "the model {name} puts out one value for each class, no pictures; for --task "
            "reconstruction use autoencoder, unet, or layers in words whose output has the shape "
            "of a picture.", name=entry.name))
    for name in ("tta", "label_smoothing", "target", "columns"):
        if getattr(options, name) not in (None, 0, "", "none"):
            raise ConfigError(tr("{name} does not fit --task reconstruction; leave it out.",
                                 name=f"--{name.replace('_', '-')}"))
    return replace(options, model=USUAL) if own is None and not options.model else options


def refuse_tables(options: TrainOptions) -> None:
    """Errors: DataError for a table, before it is read."""
    if locate(options.data, options.data_dir, options.download)[0] == "csv":
        raise _no_pictures()


def need_pictures(splits: Splits) -> None:
    """Errors: DataError for samples that are no pictures."""
    if splits.train.kind != "image":
        raise _no_pictures()


def _no_pictures() -> DataError:
    return DataError(tr("only pictures can be given back (--task reconstruction), but the data are "
                        "a table; for a table use --task classification or regression."))


def remarked(chosen: Chosen, model: nn.Module, train: Dataset) -> Chosen:
    """The choices, with a remark for a net that can copy what it sees, and sees it clean."""
    if chosen.corrupt or not can_copy(model, train.input_shape):
        return chosen
    return replace(chosen, remarks=(*chosen.remarks, tr(
        "this net can copy its input, and need not learn anything of pictures for that; "
        "--corrupt noise0.5 gives it something to undo")))


def can_copy(model: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a net could learn to copy its input: if no layer of a chain puts out fewer numbers
    than a picture has, and for other nets (a U-Net hands its upper maps straight to its end)."""
    if isinstance(model, Autoencoder):
        return False
    if not isinstance(model, nn.Sequential):
        return True
    shapes: list[tuple[int, ...]] = [row.output_shape for row in model.summary(shape).rows]
    return all(math.prod(found) >= math.prod(shape) for found in shapes)
