"""Take nests of dicts, lists, tuples and named tuples apart, and put them together again."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Leaf(NamedTuple):
    """One array of a tree.

    Attributes:
        path: Where it is: "layers.0.weight"; empty where the tree is the leaf.
        value: The array.
    """

    path: str
    value: Any


def leaves(tree: Any) -> list[Leaf]:
    """Return the leaves of `tree` in its own order; dicts in the order of insertion. None is no leaf.

    >>> [leaf.path for leaf in leaves({"a": [1.0, None, (2.0,)], "b": 3.0})]
    ['a.0', 'a.2.0', 'b']
    """
    return list(_walk(tree, ""))


def rebuild(tree: Any, values: Iterable[Any]) -> Any:
    """Return a tree built as `tree` with `values` for its leaves, in the order of `leaves`.

    >>> rebuild({"a": [1, None], "b": (2,)}, [10, 20])
    {'a': [10, None], 'b': (20,)}
    """
    return _rebuild(tree, iter(values))


def _walk(tree: Any, path: str) -> Iterator[Leaf]:
    if tree is None:
        return
    if not isinstance(tree, dict | list | tuple):
        yield Leaf(path, tree)
        return
    for key, child in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from _walk(child, f"{path}.{key}" if path else str(key))


def _rebuild(tree: Any, values: Iterator[Any]) -> Any:
    if tree is None:
        return None
    if isinstance(tree, dict):
        result = copy.copy(tree)
        for key, child in tree.items():
            result[key] = _rebuild(child, values)
        return result
    if not isinstance(tree, list | tuple):
        return next(values)
    children = [_rebuild(child, values) for child in tree]
    if isinstance(tree, list):
        return children
    return type(tree)(*children) if hasattr(tree, "_fields") else tuple(children)
