"""Nests of dicts, lists, tuples and named tuples."""

from __future__ import annotations

import doctest
from collections import OrderedDict, defaultdict
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from jobkit.native import tree


class Pair(NamedTuple):
    left: Any
    right: Any


def test_the_examples_of_the_module_run() -> None:
    assert doctest.testmod(tree).failed == 0


def test_a_leaf_alone_is_a_tree() -> None:
    assert tree.leaves(1.0) == [("", 1.0)]
    assert tree.rebuild(1.0, [2.0]) == 2.0


def test_an_empty_tree_has_no_leaves() -> None:
    for empty in ({}, [], (), None, {"a": [None, ()]}):
        assert tree.leaves(empty) == []
        assert tree.rebuild(empty, []) == empty


def test_every_kind_of_node_keeps_its_type() -> None:
    nest = OrderedDict(a=Pair(1, [2]), b=defaultdict(list, c=3), d=(4,))
    again = tree.rebuild(nest, [10, 20, 30, 40])
    assert again == OrderedDict(a=Pair(10, [20]), b={"c": 30}, d=(40,))
    assert [type(node) for node in (again, again["a"], again["b"])] == [OrderedDict, Pair, defaultdict]


def test_the_tree_that_is_rebuilt_is_not_changed() -> None:
    nest = {"a": [1, 2]}
    tree.rebuild(nest, [3, 4])
    assert nest == {"a": [1, 2]}


NESTS = st.recursive(
    st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=20,
)


@given(NESTS)
def test_taking_apart_and_putting_together_gives_the_same(nest: Any) -> None:
    values = [leaf.value for leaf in tree.leaves(nest)]
    assert tree.rebuild(nest, values) == nest


@given(NESTS)
def test_values_go_where_their_leaves_were(nest: Any) -> None:
    found = tree.leaves(nest)
    again = tree.rebuild(nest, [f"new {leaf.path}" for leaf in found])
    assert tree.leaves(again) == [(leaf.path, f"new {leaf.path}") for leaf in found]
