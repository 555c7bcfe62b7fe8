from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from jobkit.remote import package


def test_a_module_of_the_jobkit_around_it_runs_where_nothing_is_installed(tmp_path: Path) -> None:
    for name in package.manifest():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((package.ROOT / name).read_bytes())
    # A module of the folder it is started in is not taken for one of Python's own.
    (tmp_path / "json.py").write_text("raise SystemExit('json of the folder')\n")
    words = package.words(str(tmp_path), "jobkit.env")
    command = [getattr(sys, "_base_executable", sys.executable), "-S", *words, "--", "echo", "hello"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}
    )
    assert (done.stdout, done.returncode) == ("hello\n", 0), done.stderr
