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
    kind: Any = type(tree)  # pyright: ignore[reportUnknownVariableType]
    if kind not in (dict, list, tuple):
        return ([], None) if tree is None else ([tree], "leaf")
    keys = tuple(tree) if kind is dict else None
    parts = [flatten_tree(v) for v in (tree.values() if kind is dict else tree)]
    structure = kind, keys, tuple(s for _, s in parts)
    return [leaf for leaves, _ in parts for leaf in leaves], structure


def unflatten_tree(structure: Any, leaves: list[Any]) -> Any:
    """The inverse of `flatten_tree`; takes its leaves from the front of the list."""
    if structure is None:
        return None
    if structure == "leaf":
        return leaves.pop(0)
    kind, keys, parts = structure
    values = [unflatten_tree(part, leaves) for part in parts]
    return kind(zip(keys, values, strict=True) if kind is dict else values)
