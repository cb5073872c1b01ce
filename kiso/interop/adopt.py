"""Weights of a file into a model: by name, or by order where names say no more than that.

    by name    every name of the file must be one of the model and the other way round, of the same
               shape; only a head (see `load_weights`) may have another shape, and begins anew
    by order   W1, b1, W2, b2, ...: the k-th weight belongs to the k-th layer that has one (gamma
               and beta to the norms). A dense layer's matrix is (out, in) here; textbooks that
               compute x W keep (in, out), which is seen from the shapes and turned
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kiso import nn
from kiso.errors import CheckpointError
from kiso.interop.files import Weights, read_weights
from kiso.interop.names import check_counterpart, renamed
from kiso.nn.norm import BatchNormNd
from kiso.nn.state import COUNTERS
from kiso.text import tr

__all__ = ["Adopted", "load_weights"]

SHOWN = 12  # names in a message; a net has hundreds
TEXTBOOK = re.compile(r"(?:.*\.)?(W|w|weight|b|bias|gamma|beta)[_.]?(\d+)")
ROLES = {"W": "weight", "w": "weight", "weight": "weight", "b": "bias", "bias": "bias",
         "gamma": "scale", "beta": "shift"}


@dataclass(frozen=True)
class Adopted:
    """What came of it: names in the model, those of `unexpected` in the file."""

    source: str
    loaded: tuple[str, ...]
    replaced: tuple[str, ...] = ()  # of the head: of another shape, so they begin anew
    missing: tuple[str, ...] = ()  # not in the file
    unexpected: tuple[str, ...] = ()  # not in the model
    misshapen: tuple[str, ...] = ()  # of another shape, and no head


@dataclass
class Match:
    """What of a file fits a model."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    replaced: list[str] = field(default_factory=list[str])
    missing: list[str] = field(default_factory=list[str])
    unexpected: list[str] = field(default_factory=list[str])
    misshapen: dict[str, tuple[int, ...]] = field(default_factory=dict[str, "tuple[int, ...]"])


def load_weights(model: nn.Module, weights: Weights | str | Path, *, head: Collection[str] = (),
                 allow_unmatched: bool = False) -> Adopted:
    """Give a model the weights of a file or run: all that it promises, or the model stays as it is.

    head: parameters that may have another shape in the file, or be missing there; then they keep
    their present values. allow_unmatched: the same for all names, as long as one fits.

        kiso.interop.load_weights(kiso.models.resnet18(), "resnet18.pth")

    Errors: CheckpointError for a file that cannot be read, names or shapes that do not fit (all of
    them listed), values that are no numbers.
    """
    if not isinstance(weights, Weights):
        weights = read_weights(weights)
    slots = {slot.name: slot.value.shape for slot in model.slots()}
    arrays = _named(model, weights, slots)
    given = {id(slot.value) for slot in model.slots() if slot.name in arrays}
    for slot in model.slots():
        if slot.name not in arrays and id(slot.value) in given:
            del slots[slot.name]  # shared: one of its names is enough
    match = _match(slots, arrays, head)
    unmatched = match.missing or match.unexpected or match.misshapen
    if not match.arrays or (unmatched and not allow_unmatched):
        raise CheckpointError(_complaint(weights.source, slots, match))
    _check_numbers(weights.source, match.arrays)
    model.load_state_dict(match.arrays, strict=False)
    return Adopted(str(weights.source), tuple(match.arrays), tuple(match.replaced),
                   tuple(match.missing), tuple(match.unexpected), tuple(match.misshapen))


def _named(model: nn.Module, weights: Weights, slots: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a file under the names of a model, as far as there are any."""
    arrays = {n: a for n, a in weights.arrays.items() if not n.endswith(COUNTERS)}
    if weights.by_order and not set(arrays) & set(slots):
        return _ordered(model, weights.source, arrays)
    new = renamed(arrays, slots)
    check_counterpart(new.values(), slots)
    if len(set(new.values())) < len(new):
        raise CheckpointError(tr("{path} holds the same weights under two names.",
                                 path=weights.source))
    return {new[n]: array for n, array in arrays.items()}


def _match(slots: Mapping[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray],
           head: Collection[str]) -> Match:
    """Name by name."""
    match = Match(unexpected=[n for n in arrays if n not in slots])
    for name, shape in slots.items():
        if name not in arrays:
            (match.replaced if name in head else match.missing).append(name)
        elif arrays[name].shape == shape:
            match.arrays[name] = arrays[name]
        elif name in head:
            match.replaced.append(name)
        else:
            match.misshapen[name] = arrays[name].shape
    owners = {n.rpartition(".")[0] for n in match.replaced}
    for name in [n for n in match.arrays if n in head and n.rpartition(".")[0] in owners]:
        del match.arrays[name]  # a layer begins anew as a whole
        match.replaced.append(name)
    return match


def _complaint(path: Path, slots: Mapping[str, tuple[int, ...]], match: Match) -> str:
    """What matched and what did not."""
    lines = [tr("the weights of {path} do not fit the model: {count} of its {total} arrays match.",
                path=path, count=len(match.arrays), total=len(slots))]
    groups = [
        (tr("match"), list(match.arrays)),
        (tr("of the head, which may differ"), match.replaced),
        (tr("missing in the file"), match.missing),
        (tr("unknown to the model"), match.unexpected),
        (tr("of another shape"), [
            tr("{name} ({found} in the file, {expected} in the model)", name=n, found=shape,
               expected=slots[n]) for n, shape in match.misshapen.items()])]
    for title, names in groups:
        if names:
            more = len(names) - SHOWN
            shown = ", ".join(names[:SHOWN]) + (tr(" (and {more} more)", more=more) if more > 0
                                                else "")
            lines.append(f"{title}: {shown}")
    lines.append(tr("Use the model that the file was made for, or take over what matches with "
                    "--allow-unmatched.") if match.arrays else
                 tr("Use the model that the file was made for."))
    return "\n  ".join(lines)


def _check_numbers(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse NaN, infinity (also of numbers too large for float32), and what is no real number."""
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            raise CheckpointError(tr("{name} in {path} holds {dtype}, not numbers.", name=name,
                                     path=path, dtype=array.dtype))
        with np.errstate(over="ignore"):
            bad = ~np.isfinite(array.astype(np.float32))
        if bad.any():
            raise CheckpointError(tr(
                "{name} in {path} holds {count} values that are NaN or infinite: these weights "
                "cannot be used.", name=name, path=path, count=int(bad.sum())))


def _places(model: nn.Module) -> dict[str, list[str]]:
    """Names of parameters by role, in the order of the layers."""
    found: dict[str, list[str]] = {role: [] for role in ROLES.values()}
    for slot in model.slots():
        normed = isinstance(slot.owner, BatchNormNd)
        role = {"weight": "scale" if normed else "weight",
                "bias": "shift" if normed else "bias"}.get(slot.attribute)
        if role and slot.kind == "parameter":
            found[role].append(slot.name)
    return found


def _ordered(model: nn.Module, path: Path, arrays: Mapping[str, np.ndarray]
             ) -> dict[str, np.ndarray]:
    """A textbook's arrays under the names of a model, matrices turned where they must be."""
    numbered: dict[str, list[tuple[int, str]]] = {role: [] for role in ROLES.values()}
    for name in arrays:
        found = TEXTBOOK.fullmatch(name)
        if found is None:
            raise CheckpointError(tr(
                "{name} in {path} is no name that tells a place; expected the model's own names, "
                "or W1, b1, gamma1, beta1, W2, ...", name=name, path=path))
        numbered[ROLES[found[1]]].append((int(found[2]), name))
    places = _places(model)
    pairs: dict[str, str] = {}
    for role, listed in numbered.items():
        if len(listed) != len(places[role]):
            raise CheckpointError(tr(
                "{path} and the model cannot be matched by order: the file has {found} arrays for "
                "{role} ({names}), the model {expected}.", path=path, found=len(listed), role=role,
                names=", ".join(n for _, n in sorted(listed)) or "-", expected=len(places[role])))
        pairs |= {own: name for own, (_, name) in zip(places[role], sorted(listed), strict=True)}
    shapes = {slot.name: slot.value.shape for slot in model.slots()}
    turn = _turned(path, {pairs[n]: (shapes[n], arrays[pairs[n]].shape) for n in pairs})
    return {own: arrays[name].T if turn and arrays[name].ndim == 2 else arrays[name]
            for own, name in pairs.items()}


def _turned(path: Path, shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> bool:
    """Whether the matrices of a file are (in, out). One layout holds for all of them.

    Errors: CheckpointError when the shapes leave it open (all square), or contradict each other.
    """
    matrices = {n: pair for n, pair in shapes.items() if len(pair[0]) == 2 == len(pair[1])}
    straight = {n for n, (own, found) in matrices.items() if own == found}
    turned = {n for n, (own, found) in matrices.items() if own == found[::-1]}
    if straight and straight == turned:
        raise CheckpointError(tr(
            "the matrices of {path} are square ({names}): whether they are (in, out) or (out, in) "
            "cannot be seen. Give them the model's own names, in the form (out, in).", path=path,
            names=", ".join(sorted(straight))))
    return len(turned) > len(straight)
