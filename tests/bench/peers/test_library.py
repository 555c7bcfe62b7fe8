from __future__ import annotations

import numpy as np
import pytest

from jobkit.bench.peers.library import Library, UnservedError


def test_the_base_serves_nothing() -> None:
    with pytest.raises(UnservedError):
        Library().call("all_sum", np.ones(1), "out")
    with pytest.raises(UnservedError):
        Library().array(np.ones(1, np.float32), "bfloat16")


def test_a_form_that_is_not_served_gives_way_to_the_natural_one() -> None:
    library = Library()
    library.forms = ("alloc",)

    assert [library.form(wanted, "all_sum") for wanted in ("out", "alloc")] == ["alloc", "alloc"]


def test_messages_go_between_neighbours_in_pairs() -> None:
    library = Library()
    library.size = 3

    partners = []
    for library.rank in range(3):
        partners.append(library.partner())

    assert partners == [1, 0, None]
