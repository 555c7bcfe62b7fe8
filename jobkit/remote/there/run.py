"""Run a module of the jobkit that this file is part of, installed or not: `python run.py jobkit.agent`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

PATH = "jobkit/remote/there/run.py"


def main() -> None:
    """Let the folder of that jobkit stand where this file's own does, and become the module."""
    sys.path[0] = str(Path(__file__).resolve().parents[3])
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
