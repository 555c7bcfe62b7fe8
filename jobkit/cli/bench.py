"""Measure collectives: time, bandwidth, correctness, beside other libraries if they are there.

Each contender's ranks live at the same time and take turns, size by size and round by round. Prints a table;
exits with 1 if a result was wrong or jobkit itself failed.
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from jobkit.errors import Exit, SpecError, complaint

if TYPE_CHECKING:
    from jobkit.bench.measure import Result
    from jobkit.bench.session import Session

HELP = "measure collectives, side by side with other libraries"

# Flag, value, default, meaning.
_OPTIONS = (
    ("--sizes", "SIZES", "8:256M", "FIRST:LAST, FIRST:LAST:FACTOR or a list with commas, in bytes; "
     "each is rounded up to what the ranks can share"),
    ("--dtype", "T", "float32", "element type; several with commas"),
    ("--form", "F", "out", "out (memory that is kept), in-place or alloc (new memory); several with commas; "
     "a library without it runs in its own"),
    ("--against", "PEERS", "", "other libraries: mlx, mpi, gloo, or FILE.py for one of your own; several "
     "with commas"),
    ("--backend", "B", "ring", "jobkit's own: ring, jaccl (over the first RDMA device of this host), or mpi, "
     "whose ranks run in the first --mpi-python"),
    ("--mpi-python", "P", "", "interpreters that have mpi4py, for mpi; several with commas (this one)"),
    ("--transport", "T", "shm", "shm (shared memory) or tcp, for those that have a choice"),
    ("--congestion", "C", "system", "reno, cubic or bbr for all, in a network namespace (root only); "
     "system: each library as it comes"),
    ("--rounds", "K", 5, "turns of each contender at each size"),
    ("--seconds", "S", 0.1, "timed calls of one turn"),
    ("--deadline", "S", 120.0, "seconds until a contender that does not answer is ended"),
    ("--idle", "S", 0.0, "measure instead what a rank costs that waits S seconds for another one"),
    ("--plot", "FILE", "", "draw latency and bandwidth over size (.png or .svg)"),
)  # fmt: skip
_SWITCHES = (
    ("--init", "measure instead how long forming the group takes, and the memory of a rank"),
    ("--overhead", "measure instead what Python adds to jobkit's own call of 8 bytes (needs a C compiler)"),
    ("--defaults", "with --congestion: let each peer take part once more as it comes"),
    ("--namespaces", "put each half of the ranks into a network namespace of its own (root, tcp)"),
    ("--json", "print a line of JSON for each result"),
    ("--markdown", "print tables for documents"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `bench` takes."""
    operations = "all_sum (the default), all_gather, sum_scatter, broadcast, all_to_all, send"
    parser.add_argument(
        "op", metavar="OP", nargs="?", default="all_sum", help=f"{operations}; several with commas"
    )
    parser.add_argument(
        "-n", dest="ranks", metavar="N", default="2", help="ranks; several with commas (%(default)s)"
    )
    for flag, value, default, meaning in _OPTIONS:
        shown = f"{meaning} (%(default)s)" if default else meaning
        parser.add_argument(flag, metavar=value, default=default, type=type(default), help=shown)
    for flag, meaning in _SWITCHES:
        parser.add_argument(flag, action="store_true", help=meaning)


def run(args: argparse.Namespace) -> int:
    """Measure, and print what was found."""
    from jobkit.bench import plot
    from jobkit.bench.choices import choices
    from jobkit.bench.session import Session
    from jobkit.cli import talk
    from jobkit.jobs.interrupts import terminable

    _check_output(args)
    session = Session(choices(args), talk.say)
    if args.plot:
        plot.check(args.plot)
    with terminable(signal.SIGHUP):  # a terminal that is closed
        if args.init or args.idle or args.overhead:
            _moments(session, args)
            return Exit.FINDING if session.failed else Exit.OK
        rows = list(_measured(session, args))
    _print(rows, args)
    if args.plot:
        plot.draw(rows, args.plot)
    is_wrong = any(result.wrong for row in rows for result in row)
    return Exit.FINDING if is_wrong or session.failed else Exit.OK


def _check_output(args: argparse.Namespace) -> None:
    if args.json and args.markdown:
        raise SpecError(complaint("--markdown", "another form of output was asked for", got="--json as well"))


def _measured(session: Session, args: argparse.Namespace) -> Iterator[list[Result]]:
    """Yield what each case gives, and tell it."""
    from jobkit.bench import report
    from jobkit.cli import talk

    for row in session.results():
        if args.json:
            _print_lines(report.as_json(result) for result in row)
        elif row:
            talk.say(report.line(row))
        yield row


def _moments(session: Session, args: argparse.Namespace) -> None:
    from jobkit.bench import moments, report
    from jobkit.cli import tables

    found = session.overhead() if args.overhead else session.moments(idle_s=args.idle)
    if args.json:
        _print_lines(moments.as_json(moment) for moment in found)
        return
    cells = [moments.columns(moment) for moment in found]
    if cells:
        columns, rows = tuple(cells[0]), [tuple(each.values()) for each in cells]
        if args.markdown:
            print("\n".join(report.markdown(columns, rows)))
        else:
            tables.print_table(columns, rows)


def _print_lines(values: Iterable[object]) -> None:
    import json

    for value in values:
        print(json.dumps(value), flush=True)


def _print(rows: list[list[Result]], args: argparse.Namespace) -> None:
    from jobkit.bench import report
    from jobkit.bench.verdict import verdicts
    from jobkit.cli import tables, talk

    found = verdicts(rows)
    if args.markdown:
        print("\n".join(report.document(rows)))
    elif not args.json:
        tables.print_table(report.COLUMNS, [report.row(result) for row in rows for result in row])
        if any(verdict.best for verdict in found):
            print()
            tables.print_table(report.VERDICT, [report.verdict_row(verdict) for verdict in found])
    summary = report.summary(found)
    if summary:
        talk.say(summary)
