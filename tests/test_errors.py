"""Errors say where, what is wrong, what was got, what was expected, one hint."""

from __future__ import annotations

import pytest

from jobkit.errors import BackendError, JobkitError, LaunchError, SpecError, SubmitError, complaint


def test_a_complaint_has_every_part_in_order() -> None:
    text = complaint("a.yaml:4: nodes", "not a count", got="two", expected="an integer", hint="write 2")

    assert text == "a.yaml:4: nodes: not a count, got 'two', expected an integer\n\nhint: write 2"


def test_a_complaint_leaves_out_what_is_not_known() -> None:
    assert complaint("rank 3", "left") == "rank 3: left"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SpecError, 2),
        (SubmitError, 125),
        (LaunchError, 125),
        (BackendError, 125),
        (JobkitError, 125),
    ],
)
def test_every_error_has_the_exit_status_of_its_kind(error: type[JobkitError], status: int) -> None:
    assert error.exit_status == status


def test_a_backend_error_is_what_users_of_mlx_catch() -> None:
    assert issubclass(BackendError, RuntimeError)
