from __future__ import annotations

from pathlib import Path

import pytest

from jobkit.jobs import home


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"JOBKIT_HOME": "/j", "HOME": "/h", "XDG_STATE_HOME": "/x"}, "linux", "/j"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/x"}, "linux", "/x/jobkit"),
        ({"HOME": "/h", "XDG_STATE_HOME": "relative"}, "linux", "/h/.local/state/jobkit"),
        ({"HOME": "/h", "JOBKIT_HOME": ""}, "linux", "/h/.local/state/jobkit"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/x"}, "darwin", "/h/Library/Application Support/jobkit"),
    ],
)
def test_the_home_is_where_the_system_keeps_state(
    environ: dict[str, str], platform: str, expected: str
) -> None:
    assert home.home(environ, platform) == Path(expected)


def test_jobs_lie_below_it() -> None:
    assert home.jobs({"JOBKIT_HOME": "/j"}) == Path("/j/jobs")


def test_a_relative_home_starts_at_the_working_directory() -> None:
    assert home.home({"JOBKIT_HOME": "here"}) == Path.cwd() / "here"


def test_what_is_made_is_for_its_users_eyes_only(tmp_path: Path) -> None:
    environ = {"JOBKIT_HOME": str(tmp_path / "state" / "jobkit")}
    home.make(environ)
    home.make(environ)
    for folder in (home.home(environ), home.jobs(environ)):
        assert folder.stat().st_mode & 0o777 == 0o700
