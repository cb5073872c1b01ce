"""Recipes in words: for the card of a model, and all of them in a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from kiso.cli.output import Output
from kiso.text import tr

if TYPE_CHECKING:
    from kiso.train.recipes import Recipe

__all__ = ["recipe_lines", "recipe_table", "recipe_title"]


def recipe_title(name: str) -> str:
    """Its name, and the paper it is of."""
    from kiso.train.recipes import RECIPES

    source = RECIPES[name].source
    return f"{name} ({source})" if source else name


def recipe_lines(name: str) -> list[str]:
    """A recipe as the card of a net shows it."""
    from kiso.train.recipes import RECIPES

    recipe = RECIPES[name]
    lines = [recipe_title(name),
             tr("{rule} ({values}), schedule {schedule}", rule=recipe.optimizer,
                values=_values(recipe) or tr("its own values"), schedule=recipe.schedule),
             tr("batch size {size}, epochs {epochs}", size=recipe.batch_size or tr("by the data"),
                epochs=recipe.epochs or tr("by the data"))]
    lines += [tr("learning rate of {pattern}: times {factor:g}", pattern=pattern, factor=factor)
              for pattern, factor in recipe.factors.items()]
    if recipe.augment:
        lines.append(tr("augmentation: {text}", text=_augment(recipe)))
    if recipe.label_smoothing:
        lines.append(tr("label smoothing {x:g}", x=recipe.label_smoothing))
    if recipe.tta:
        lines.append(tr("test-time augmentation: {text}", text=recipe.tta))
    if recipe.init != "own":
        lines.append(tr("first weights: {text}", text=recipe.init))
    return lines


def recipe_table(output: Output) -> int:
    """One row for each recipe."""
    from kiso.train.recipes import RECIPES

    rows = [[name, str(recipe.batch_size or ""), str(recipe.epochs or ""),
             f"{recipe.optimizer} ({values})" if (values := _values(recipe)) else recipe.optimizer,
             recipe.schedule, _augment(recipe), recipe.source]
            for name, recipe in RECIPES.items()]
    heads = [tr("recipe"), tr("batch"), tr("epochs"), tr("optimizer"), tr("schedule"),
             tr("augmentation"), tr("source")]
    output.table(heads, rows, numbers=(1, 2))
    output.show(tr("Fractions are shares of the run's epochs, and of a picture's side. An empty "
                   "cell follows from the data. Each option of `kiso train` overrides its value."))
    output.document({"recipes": [{"name": name, **asdict(recipe)}
                                 for name, recipe in RECIPES.items()]})
    return 0


def _values(recipe: Recipe) -> str:
    """Learning rate, momentum, penalty, as far as the recipe says them."""
    named = {"lr": recipe.lr, "momentum": recipe.momentum, "weight decay": recipe.weight_decay,
             "clip norm": recipe.clip_norm, **recipe.extra}
    return ", ".join(f"{name} {value:g}" for name, value in named.items() if value)


def _augment(recipe: Recipe) -> str:
    """The words, or where they come from."""
    return tr("by the data") if recipe.augment == "automatic" else recipe.augment
