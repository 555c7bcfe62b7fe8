from __future__ import annotations

import pytest

from jobkit.bench.cases import ITEM_SIZES, OPERATIONS, case, cases


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("size", [2, 3, 8])
def test_a_case_has_at_least_the_bytes_asked_for_and_divides_among_ranks(op: str, size: int) -> None:
    for dtype, item in ITEM_SIZES.items():
        for n_bytes in (0, 1, 8, 1000, 1 << 20):
            one = case(op, size, n_bytes, dtype, "out")

            assert n_bytes <= one.n_bytes < n_bytes + size * item, one
            assert op not in ("sum_scatter", "all_to_all") or one.count % size == 0, one


def test_the_bytes_of_a_gather_are_those_of_its_result() -> None:
    assert (
        case("all_gather", 4, 1024, "float32", "out").count,
        case("all_sum", 4, 1024, "float32", "out").count,
    ) == (
        64,
        256,
    )


@pytest.mark.parametrize(
    ("op", "two", "four"),
    [("all_sum", 1.0, 1.5), ("all_gather", 0.5, 0.75), ("sum_scatter", 0.5, 0.75), ("all_to_all", 0.5, 0.75),
     ("broadcast", 1.0, 1.0), ("send", 1.0, 1.0)],
)  # fmt: skip
def test_the_bus_factor_is_what_passes_the_link_of_a_rank(op: str, two: float, four: float) -> None:
    assert case(op, 2, 8, "uint8", "out").bus_factor == two
    assert case(op, 4, 8, "uint8", "out").bus_factor == four


def test_sizes_that_come_to_the_same_count_are_measured_once() -> None:
    found = list(cases(["all_gather"], 8, [1, 2, 8, 64], ["float32"], ["out"]))

    assert [one.n_bytes for one in found] == [32, 64]


def test_every_combination_is_a_case() -> None:
    assert len(list(cases(OPERATIONS, 2, [64, 128], ["int8", "float32"], ["out", "alloc"]))) == 48
