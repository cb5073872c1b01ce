"""Where names of weights differ between files and the nets here, which are torchvision's mostly.

    (...denselayer1).norm.1.weight  ->  (...denselayer1).norm1.weight     torchvision before 0.3
    module.features.0.weight        ->  features.0.weight                 saved from DataParallel
    _orig_mod.features.0.weight     ->  features.0.weight                 saved from torch.compile
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kiso.errors import CheckpointError
from kiso.text import tr

__all__ = ["check_counterpart", "renamed"]

WRAPPERS = ("module.", "_orig_mod.", "model.")
RENAMES = (
    (re.compile(r"(\.denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
)


def renamed(names: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Name in the file -> name here. A wrapper's prefix goes if all have it and no net here does.
    """
    listed, known = list(names), set(wanted)
    prefix = ""
    for wrapper in (w for _ in WRAPPERS for w in WRAPPERS):  # they may stand within each other
        longer = prefix + wrapper
        if all(n.startswith(longer) for n in listed) and not any(n in known for n in listed):
            prefix = longer
    result: dict[str, str] = {}
    for name in listed:
        new = name.removeprefix(prefix)
        for pattern, replacement in RENAMES:
            new = pattern.sub(replacement, new)
        result[name] = new
    return result


def check_counterpart(names: Iterable[str], wanted: Iterable[str]) -> None:
    """Refuse a net of the same name but another structure, whose names alone would only puzzle.

    Errors: CheckpointError for a GoogLeNet with batch norm where the paper's, without, is wanted.
    """
    def googlenet(listed: Iterable[str]) -> tuple[bool, bool]:
        found = list(listed)
        return (any(n.startswith("inception3a.") for n in found),
                any(n.startswith("inception3a.") and ".bn." in n for n in found))

    theirs, ours = googlenet(names), googlenet(wanted)
    if theirs == (True, True) and ours == (True, False):
        raise CheckpointError(tr(
            "the file holds a GoogLeNet with batch norm (torchvision's, with 3x3 where the paper "
            "has 5x5); the paper's has neither. Take --model 'googlenet(torchvision)'."))
