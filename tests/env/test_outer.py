from __future__ import annotations

from jobkit.env import outer
from jobkit.env.placement import Found, NotARank, Placement

SLURM = Found(Placement(3, 4, 0, 1, 3, 4, (None,) * 4), "slurm-44.0")
ENV = Found(Placement(3, 4, 0, 1, 3, 4, (None,) * 4))
PLACED = {"RANK": "3", "WORLD_SIZE": "4", "MLX_RANK": "3"}
INSIDE = {**PLACED, **outer.record(outer.words({"slurm": SLURM}, {"RANK": "0"}), PLACED)}


def test_what_was_visible_is_written_down_and_of_plain_variables_the_programs() -> None:
    assert INSIDE["JOBKIT_OUTER"] == "slurm=slurm-44.0:3 env=MLX_RANK:3 env=RANK:3 env=WORLD_SIZE:4"


def test_what_was_there_is_not_newer() -> None:
    assert outer.newer({"slurm": SLURM, "env": ENV}, INSIDE) == ()


def test_without_a_word_of_what_was_there_nothing_is_newer() -> None:
    assert outer.newer({"slurm": SLURM, "env": ENV}, PLACED) == ()


def test_a_launcher_that_was_not_there_is_newer() -> None:
    assert outer.newer({"openmpi": SLURM, "slurm": SLURM}, INSIDE) == ("openmpi",)


def test_another_step_or_rank_is_newer() -> None:
    assert outer.newer({"slurm": Found(SLURM.placement, "slurm-44.1")}, INSIDE) == ("slurm",)
    first = Placement(0, 4, 0, 1, 0, 4, (None,) * 4)
    assert outer.newer({"slurm": Found(first, "slurm-44.0")}, INSIDE) == ("slurm",)
    assert outer.newer({"slurm": NotARank("a batch step", "slurm-45")}, INSIDE) == ("slurm",)


def test_a_plain_variable_that_was_changed_is_newer_and_one_that_is_gone_is_not() -> None:
    assert outer.newer({"env": ENV}, {**INSIDE, "MLX_HOSTFILE": "/tmp/h"}) == ("env",)
    assert outer.newer({"env": ENV}, {**INSIDE, "RANK": "0"}) == ("env",)
    gone = {name: value for name, value in INSIDE.items() if name != "RANK"}
    assert outer.newer({"env": ENV}, gone) == ()


def test_names_with_spaces_stay_one_word() -> None:
    assert outer.words({"flux": NotARank("", "a b")}, {}) == ("flux=a_b:",)
