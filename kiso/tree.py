"""Nested dicts, lists and tuples of arrays as a list, and back: state, batches, arguments, results.

    leaves, structure = flatten_tree({"W": w, "b": [b, None]})      [w, b], and what is around them
    unflatten_tree(structure, leaves)                               {"W": w, "b": [b, None]}
"""

from __future__ import annotations

from typing import Any

__all__ = ["flatten_tree", "unflatten_tree"]


def flatten_tree(tree: Any) -> tuple[list[Any], Any]:
    """Leaves of nested dicts, lists and tuples in order, and the structure without them: None, the
    word leaf, or (type, keys, structures)."""
    leaves: list[Any] = []
    return leaves, _structure(tree, leaves)


def _structure(tree: Any, leaves: list[Any]) -> Any:
    """The structure of a tree, whose leaves are added to the list."""
    kind: Any = type(tree)  # pyright: ignore[reportUnknownVariableType]
    if kind is dict:
        return dict, tuple(tree), tuple([_structure(v, leaves) for v in tree.values()])
    if kind is list or kind is tuple:
        return kind, None, tuple([_structure(v, leaves) for v in tree])
    if tree is None:
        return None
    leaves.append(tree)
    return "leaf"


def unflatten_tree(structure: Any, leaves: list[Any]) -> Any:
    """The inverse of `flatten_tree`; takes its leaves from the front of the list."""
    if structure is None:
        return None
    if structure == "leaf":
        return leaves.pop(0)
    kind, keys, parts = structure
    values = [unflatten_tree(part, leaves) for part in parts]
    return kind(zip(keys, values, strict=True) if kind is dict else values)
