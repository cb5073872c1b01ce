"""Pool of samples -> training, validation and test splits."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from kiso.data import duplicates
from kiso.data.dataset import Dataset, Splits
from kiso.data.encoders import Encoder, ImageEncoder, TableEncoder
from kiso.data.pictures import convert
from kiso.data.sources.parts import Part, Pool, Request, need_two_classes
from kiso.data.split import fractions, partition
from kiso.data.table import Feature
from kiso.errors import ConfigError, DataError
from kiso.text import tr

__all__ = ["HELD_OUT", "assemble", "record"]

HELD_OUT = 0.1  # of the given training part, for a validation or test part that is not given


def _cut(part: Part, rows: Any) -> Part:
    numbers: list[int] = rows.tolist()
    return Part(part.x[rows], part.y[rows], [part.names[i] for i in numbers],
                [part.digests[i] for i in numbers] if part.digests else [])


def _only(pool: Pool, wanted: tuple[str, ...], labelled: bool) -> None:
    """Keep the samples of these classes, which become the pool's, numbered anew in their order.

    Errors: ConfigError for a class that there is not, and for targets that are no classes.
    """
    if pool.task != "classification":
        raise ConfigError(tr("--classes needs classes, but the targets are numbers; leave it "
                             "out."))
    unknown = [name for name in wanted if name not in pool.classes]
    if unknown:
        raise ConfigError(tr("--classes: there is no class {names}; the data have {classes}.",
                             names=", ".join(unknown), classes=", ".join(pool.classes)))
    kept = tuple(name for name in pool.classes if name in wanted)
    if labelled:
        need_two_classes(kept, pool.source["name"])
    left = [name for name in pool.classes if name not in wanted]
    numbers = [pool.classes.index(name) for name in kept]  # ascending
    for name, part in pool.parts.items():
        cut = _cut(part, np.flatnonzero(np.isin(part.y, numbers)))
        pool.parts[name] = replace(cut, y=np.searchsorted(numbers, cut.y))
    pool.classes = kept
    if left:
        pool.notes.append(("", tr("classes left out: {names}", names=", ".join(left))))


def _conflicts(part: Part, groups: Any, pool: Pool) -> None:
    """Note identical pictures that carry different labels."""
    first: dict[int, int] = {}
    for i, group in enumerate(groups):
        j = first.setdefault(int(group), i)
        if part.y[i] != part.y[j]:
            pool.notes.append((part.names[i], tr(
                "the same picture as {other}, in another class", other=part.names[j])))


def _deal(pool: Pool, request: Request) -> tuple[dict[str, Part], dict[str, float]]:
    """The three parts, and the fractions by which the samples that had no part were dealt."""
    train, val, test = fractions(request.split)
    if "all" in pool.parts:
        wanted = {"train": train, "val": val, "test": test}
        whole = pool.parts["all"]
    else:
        whole = pool.parts["train"]
        absent = {"val": val, "test": test}
        absent = {name: share for name, share in absent.items() if name not in pool.parts}
        if request.split is None:
            absent = dict.fromkeys(absent, HELD_OUT)
            train = 1 - sum(absent.values())
        wanted = {"train": train, **absent}
    groups = duplicates.groups(whole.digests) if pool.kind == "image" else None
    if groups is not None and pool.task == "classification":
        _conflicts(whole, groups, pool)
    labels = whole.y if pool.task == "classification" else None
    rows = partition(len(whole.x), list(wanted.values()), seed=request.seed, labels=labels,
                     groups=groups)
    dealt = {name: _cut(whole, part) for name, part in zip(wanted, rows, strict=True)}
    given = {name: part for name, part in pool.parts.items() if name not in ("all", "train")}
    return dealt | given, wanted


def _encoder(pool: Pool, train: Part, request: Request) -> Encoder:
    if pool.kind == "image":
        _, channels, height, width = train.x.shape
        return ImageEncoder((height, width), channels, request.image.fit, request.image.max_pixels)
    medians = np.median(train.x, axis=0)
    return TableEncoder(tuple(Feature(name, "number", float(median))
                              for name, median in zip(pool.columns, medians, strict=True)))


def assemble(pool: Pool, request: Request) -> Splits:
    """Deal the pool; identical pictures stay together, those across given parts are reported."""
    if request.classes is not None:
        _only(pool, request.classes, request.labelled)
    if pool.kind == "image":
        for name, part in pool.parts.items():
            x = convert(part.x, request.image)
            pool.parts[name] = replace(part, x=x, digests=duplicates.digests(x))
    parts, dealt = _deal(pool, request)
    small = [name for name in ("train", "val", "test") if len(parts[name].x) == 0]
    if small:
        raise DataError(tr("too few samples: the {parts} split would be empty; add samples or "
                           "change --split.", parts=", ".join(small)))
    total = sum(dealt.values())
    source = pool.source | {
        "split": {name: share / total for name, share in dealt.items()}, "seed": request.seed,
        "given_parts": sorted(set(pool.parts) - {"all"})}
    if pool.kind == "image":
        source["options"] = asdict(request.image) | {"size": list(parts["train"].x.shape[2:])}
    encoder = _encoder(pool, parts["train"], request)
    sets = {name: Dataset(part.x, part.y, pool.task, pool.kind, pool.classes, tuple(part.names),
                          pool.columns, pool.target, source, encoder)
            for name, part in parts.items()}
    copies = duplicates.across({name: (part.digests, part.names) for name, part in parts.items()}) \
        if pool.kind == "image" else ()
    return Splits(sets["train"], sets["val"], sets["test"], tuple(pool.problems), tuple(pool.notes),
                  copies)


def record(splits: Splits, more: dict[str, Any]) -> Splits:
    """Complete the record of the source: counts, what was left out or noticed (pairs of name and
    text), a checksum of all samples, and `more`.
    """
    digest = hashlib.sha256()
    for part in splits.parts().values():
        digest.update(np.ascontiguousarray(part.x).data)
        digest.update(np.ascontiguousarray(part.y).data)
    source = splits.train.source | more | {
        "counts": splits.counts(), "task": splits.train.task, "left_out": len(splits.problems),
        "problems": [list(pair) for pair in splits.problems],
        "remarks": [list(pair) for pair in splits.notes], "data_sha256": digest.hexdigest()}
    parts = {name: replace(part, source=source) for name, part in splits.parts().items()}
    return replace(splits, **parts)
