"""Start a program's ranks now, in the foreground. Takes the flags of mlx.launch.

Flags end at the first word of CMD, or at `--`.
"""

from __future__ import annotations

import argparse

HELP = "start ranks here or on hosts, in the foreground (drop-in for mlx.launch)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags: mlx.launch's own, then jobkit's."""
    add = parser.add_argument
    add("--print-python", action="store_true", help="print the interpreter that would be used, and stop")
    add("--verbose", action="store_true", help="let the backends say on stderr what they do")
    add(
        "--hosts",
        metavar="H1,H2",
        help="where the ranks run: [USER@]HOST[:PORT] or Hosts of ~/.ssh/config, over SSH (127.0.0.1)",
    )
    add(
        "-n",
        "--repeat-hosts",
        type=int,
        metavar="N",
        help="ranks per host (1; in an allocation of Slurm's the tasks that it has per node)",
    )
    add("--hostfile", metavar="FILE", help="JSON file of hosts, one rank an entry, as mlx.launch has it")
    add(
        "--backend",
        metavar="B",
        help="any, ring, jaccl, jaccl-ring, nccl, mpi (through mpirun) or none (the hostfile's, else any)",
    )
    add(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a variable for every rank; repeatable",
    )
    add(
        "--mpi-arg",
        action="append",
        default=[],
        metavar="ARG",
        help="for mpirun, split as by a shell; repeatable",
    )
    add(
        "--connections-per-ip",
        type=int,
        default=1,
        metavar="N",
        help="connections of MLX's ring per address (1)",
    )
    add(
        "-p",
        "--starting-port",
        type=int,
        metavar="PORT",
        help="reserve ports from this one up (any free ones)",
    )
    add(
        "--cwd",
        metavar="FOLDER",
        help="folder in which the program starts (this one; on a host without it, the login's)",
    )
    add("--nccl-port", type=int, metavar="PORT", help="port of NCCL's bootstrap (any free one)")
    add("--python", metavar="P", help="interpreter to put in front of CMD")
    add(
        "--label",
        action="store_true",
        help="begin each line with its rank (on a terminal it always does, with several ranks)",
    )
    add(
        "--table",
        action="store_true",
        help="show on stderr how the ranks do: on a terminal host, state and last line of each while "
        "they run, else how each ended",
    )
    add("--stdin", metavar="R", help="who reads standard input: all, none or a rank (all)")
    add(
        "--agent-python",
        metavar="P",
        help="interpreter that has jobkit (this one; on a host without it, python3)",
    )
    add(
        "--host-keys",
        default="strict",
        choices=("strict", "tofu", "off"),
        metavar="K",
        help="whose SSH host key is believed: strict (a known one's), tofu (on first use anybody's, who is "
        "then known), off (anybody's)",
    )
    add(
        "--as",
        dest="as_",
        metavar="E:NxM",
        help="start CMD here as it would be started under E on N nodes with M ranks each, with the variables "
        "of E alone: slurm, openmpi, mpich, mvapich2, pals, flux, lsf, torchrun, pbs or sge",
    )
    add("command", nargs=argparse.REMAINDER, metavar="CMD", help="the program and its arguments")


def run(args: argparse.Namespace) -> int:
    """Start the ranks and stay until all have ended; returns the exit status."""
    import os
    import sys

    from jobkit.agent.client import Agent
    from jobkit.cli import folder
    from jobkit.cli.batch import allocation
    from jobkit.cli.foreground import Foreground
    from jobkit.cli.launching import hosts, request
    from jobkit.env.detect import detect
    from jobkit.env.facts import facts

    if args.print_python:
        print(args.python or sys.executable)
        return 0
    environ = dict(os.environ)
    if args.as_ is not None:
        from jobkit.cli.launch_as import launch_as

        return launch_as(args, environ, folder.current())
    job = None
    if args.hosts is None and args.hostfile is None:
        job = allocation(environ, detect(environ, facts(environ)))
    ranks = () if job is None else tuple(args.repeat_hosts or own for own in job.ranks)
    cwd, where = folder.current(), hosts(args)
    asked = request(args, where, environ, cwd, os.isatty(1), sum(ranks) if job else None)
    if job is None and asked.backend == ("mpi",):
        from jobkit.cli import mpi_launch

        return mpi_launch.launch(asked, where, args, environ)
    if not where.are_here:
        from jobkit.cli.ssh_launch import launch_on

        return launch_on(asked, where, args)
    if job is not None and (len(job.hosts) > 1 or not job.here):
        from jobkit.cli.batch_launch import launch

        return launch(asked, job, ranks, environ, label=args.label, table=args.table)
    return Foreground(asked, label=args.label, table=args.table).run(lambda: Agent.start(asked, asked.python))
