"""The command line: one module a verb, loaded when it is asked for."""

from __future__ import annotations

import importlib
import os
import sys

from jobkit import __version__
from jobkit.errors import Exit, JobkitError

TYPE_CHECKING = False

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import ModuleType

# In the order in which `jobkit --help` lists them: start work, look at it, prepare it.
VERBS = (
    "submit",
    "launch",
    "exec",
    "env",
    "list",
    "status",
    "logs",
    "wait",
    "cancel",
    "rerun",
    "clean",
    "validate",
    "schema",
    "doctor",
    "hosts",
    "bench",
    "completions",
)

PYTHON_KEYWORDS = {"exec": "exec_", "list": "list_"}


def verb_module(verb: str) -> ModuleType:
    """Return the module of a verb; `exec` and `list` live in `exec_.py` and `list_.py`."""
    return importlib.import_module(f"jobkit.cli.{PYTHON_KEYWORDS.get(verb, verb)}")


def parser(verbs: Sequence[str] = VERBS) -> argparse.ArgumentParser:
    """Return the parser of some verbs: building them all takes as long as most verbs themselves."""
    import argparse

    from rich_argparse import RawDescriptionRichHelpFormatter

    root = argparse.ArgumentParser(
        prog="jobkit", description=__import__("jobkit").__doc__, allow_abbrev=False
    )
    root.add_argument("--version", action="version", version=f"jobkit {__version__}")
    known = root.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb in verbs:
        module = verb_module(verb)
        sub = known.add_parser(
            verb,
            help=module.HELP,
            description=module.__doc__,
            formatter_class=RawDescriptionRichHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(sub)
    return root


def main(argv: list[str] | None = None) -> int:
    """Run one verb and return its exit status; every JobkitError becomes one message on stderr."""
    from jobkit.cli import streams

    streams.open_all()
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["exec"] and words[1:2] not in (["-h"], ["--help"]):
        # Every rank waits for it: the parser of all verbs would take longer than the shim.
        from jobkit.env.__main__ import main as shim

        return shim(words[1:], dict(os.environ))
    from jobkit.cli import talk

    try:
        args = parser(words[:1] if words[:1] and words[0] in VERBS else VERBS).parse_args(words)
        status = int(verb_module(args.verb).run(args))
        sys.stdout.flush()
        return status
    except JobkitError as error:
        talk.error(str(error))
        return error.exit_status
    except KeyboardInterrupt as interrupt:
        from jobkit.jobs.interrupts import Terminated

        return Exit.SIGNAL + interrupt.signum if isinstance(interrupt, Terminated) else Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`jobkit logs J | head`).
        streams.drop_output()
        return Exit.OK
    except OSError as error:
        if not streams.refused(error):
            raise
        streams.drop_output()
        talk.error(f"standard output: cannot be written ({error.strerror})")
        return Exit.NOT_STARTED
