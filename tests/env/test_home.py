from __future__ import annotations

from pathlib import Path

from jobkit.env.home import home


def test_a_relative_home_starts_at_the_working_directory() -> None:
    assert home({"JOBKIT_HOME": "here"}) == str(Path.cwd() / "here")


def test_without_variables_it_is_below_the_users_folder() -> None:
    assert home({}, "linux") == str(Path.home() / ".local/state/jobkit")
