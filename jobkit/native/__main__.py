"""Run a program on the bundled engine: `python -m jobkit.native PROGRAM [ARGS]`, `-m MODULE` or `-c TEXT`.

`mx.distributed` is the engine's (`jobkit.native.mlx.install`) where mlx is installed; the rest is as with
`python PROGRAM`.
"""

from __future__ import annotations

import builtins
import importlib.util
import os
import runpy
import sys
import time
from pathlib import Path
from types import ModuleType, TracebackType

from jobkit.errors import Exit

USAGE = "usage: python -m jobkit.native (PROGRAM | -m MODULE | -c TEXT) [ARGS ...]"


def main(argv: list[str]) -> int:
    """Run what `argv` names and return the exit status where nothing is run."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{__doc__}\n{USAGE}" if argv else USAGE, file=sys.stdout if argv else sys.stderr)
        return Exit.OK if argv else Exit.USAGE
    if argv[0] in ("-m", "-c") and len(argv) < 2:
        print(f"{USAGE}\n{argv[0]}: an argument is missing", file=sys.stderr)
        return Exit.USAGE
    if importlib.util.find_spec("mlx") is not None:
        from jobkit.native.mlx import install

        install()
    sys.excepthook = _show_program_only
    try:
        return _run(argv)
    except RuntimeError as error:
        # Where Ctrl-C ended an operation of MLX, a KeyboardInterrupt waits for the next call.
        try:
            time.sleep(0)
        except KeyboardInterrupt as interrupt:
            raise interrupt.with_traceback(error.__traceback__) from None
        raise


def _show_program_only(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback as the interpreter does, from the first line of the program on."""
    mine = (__file__, "<frozen runpy>", runpy.__file__)
    while trace is not None and trace.tb_frame.f_code.co_filename in mine:
        trace = trace.tb_next
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


def _run(argv: list[str]) -> int:
    """Run a program as the interpreter would, with sys.argv, sys.path[0] and __main__ of its own."""
    if argv[0] == "-m":
        _start_path(os.getcwd())  # noqa: PTH109 a string, as Python has it
        sys.argv = argv[1:]
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        return Exit.OK
    if argv[0] == "-c":
        _start_path("")
        sys.argv = ["-c", *argv[2:]]
        return _execute(argv[1].encode(), "<string>")
    sys.argv = argv
    if Path(argv[0]).is_dir():
        runpy.run_path(argv[0], run_name="__main__")
        return Exit.OK
    return _run_file(argv[0])


def _run_file(file: str) -> int:
    try:
        text = Path(file).read_bytes()
    except OSError as error:
        print(
            f"{sys.executable}: can't open file {file!r}: [Errno {error.errno}] {error.strerror}",
            file=sys.stderr,
        )
        return Exit.USAGE
    _start_path(str(Path(file).resolve().parent))
    return _execute(text, file)


def _start_path(folder: str) -> None:
    if not getattr(sys.flags, "safe_path", False):  # python -P; new in 3.11
        sys.path[0] = folder


def _execute(text: bytes, file: str) -> int:
    """Execute a program's text as the module __main__, which stays until the interpreter ends."""
    module = ModuleType("__main__")
    module.__dict__["__builtins__"] = builtins
    if file != "<string>":
        module.__file__ = file
    sys.modules["__main__"] = module
    exec(compile(text, file, "exec", dont_inherit=True), module.__dict__)
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
