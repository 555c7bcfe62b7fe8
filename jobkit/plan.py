"""Decide what a spec means here: ranks, commands, limits, one task for each point of a sweep.

Pure: it reads no file, no environment and no clock, and what it returns is data.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jobkit.errors import SpecError, complaint

if TYPE_CHECKING:
    from jobkit.spec.geometry import Geometry
    from jobkit.spec.model import JobSpec

EXECUTORS = ("local", "slurm", "ssh")
BASH = "/bin/bash"

# No word that a shell, or ssh, could read as something else.
_HOST = re.compile(r"[\w@:%.\[\]][\w@:%.\[\]-]*")
# Backends whose group the local executor can form.
LOCAL_BACKENDS = frozenset({"any", "ring", "none"})


@dataclass(frozen=True)
class Task:
    """What the ranks of one point of a sweep run; a job without a sweep has one task.

    Attributes:
        point: Which point, counted from "0"; None without a sweep.
        values: The values of the point.
        name: Name of the job at this point.
        command: Program and arguments, exactly as they are started.
        shell: The spec said `shell: true`, and the command starts bash.
        env: Variables for the ranks, over everything inherited.
    """

    point: str | None
    values: dict[str, str]
    name: str
    command: tuple[str, ...]
    shell: bool
    env: dict[str, str]


@dataclass(frozen=True)
class Retries:
    """How often a job is started again, by what ended it."""

    preempted: int = 0
    node_failure: int = 0
    failed: int = 0


@dataclass(frozen=True)
class SignalSpec:
    """A signal for the program ahead of the time limit.

    Attributes:
        name: Without SIG: "USR1".
        before_s: Seconds ahead of the limit.
    """

    name: str
    before_s: float


@dataclass(frozen=True)
class SlurmOptions:
    """What the spec says to Slurm beyond the keys that every executor has.

    Attributes:
        login: Host to submit from, None for this one.
        partition, account, qos, constraint: Of sbatch, None for Slurm's default.
        srun: More options of srun; an empty text for a flag.
        extra: More options of sbatch; an empty text for a flag.
        skip: Options of sbatch that are left out.
    """

    login: str | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    srun: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class SshOptions:
    """What the spec says about hosts that are reached over SSH.

    Attributes:
        hosts: [USER@]HOST[:PORT], or a Host of the user's ssh_config, one for each node in rank order.
        python: Interpreter there; None for this one's path where there is one, else python3.
        sync: Bring the working tree and jobkit along.
        detach: The job lives on when this machine is gone.
        workdir: Folder there in which ranks start, None for the one of the same meaning as here.
        host_keys: Which are believed: strict, tofu or off.
        suspend_s: How long the job may be paused, in seconds.
        addresses: By rank, the addresses at which the others are to reach it; () to find them out.
    """

    hosts: tuple[str, ...] = ()
    python: str | None = None
    sync: bool = True
    detach: bool = False
    workdir: str | None = None
    host_keys: str = "strict"
    suspend_s: float = 600.0
    addresses: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Plan:
    """What is to be done, with every default decided.

    Attributes:
        name: Name of the job; of a sweep whose name has values in it, with * in their place.
        executor: local, slurm or ssh.
        tasks: One, or one for each point of the sweep.
        parallel: How many tasks run at once.
        after: Jobs that must have succeeded first.
        ranks: `nodes` times `ranks_per_node`.
        nodes: Machines.
        ranks_per_node: Ranks on each.
        cpus_per_rank: CPU cores, or None where it is left open.
        gpus_per_rank: GPUs.
        share_gpus: More ranks than devices are allowed.
        memory_bytes: Memory on each node, or None.
        backend: One or several names.
        forward: Names taken from the submitting environment.
        secrets: The same, never printed.
        inherit: Start from the submitting environment.
        python: Absolute path of the interpreter with jobkit on the nodes.
        workdir: Absolute path of the folder in which ranks start.
        run_dir: Absolute path of the folder of run folders, or None for the default.
        snapshot: Run from a copy of workdir.
        setup: Lines for bash, once on each node.
        time_s: Time limit of an attempt in seconds, or None.
        retries: How often to start again.
        signal: Sent ahead of the time limit, or None.
        subnet: Network whose addresses are used, or None.
        ports: First and last port, or None for any.
        connections_per_ip: TCP connections of the ring for each address.
        jaccl_hostfile: Absolute path of the hostfile with JACCL's matrix, or None.
        notes: Lines for stderr, such as what a smoke test leaves out.
        slurm: For the slurm executor alone.
        ssh: For the ssh executor alone.
    """

    name: str
    executor: str
    tasks: tuple[Task, ...]
    parallel: int
    after: tuple[str, ...]
    ranks: int
    nodes: int
    ranks_per_node: int
    cpus_per_rank: int | None
    gpus_per_rank: int
    share_gpus: bool
    memory_bytes: int | None
    backend: tuple[str, ...]
    forward: tuple[str, ...]
    secrets: tuple[str, ...]
    inherit: bool
    python: str
    workdir: str
    run_dir: str | None
    snapshot: bool
    setup: tuple[str, ...]
    time_s: float | None
    retries: Retries
    signal: SignalSpec | None
    subnet: str | None
    ports: tuple[int, int] | None
    connections_per_ip: int
    jaccl_hostfile: str | None
    notes: tuple[str, ...]
    slurm: SlurmOptions = SlurmOptions()
    ssh: SshOptions = SshOptions()

    @property
    def is_sweep(self) -> bool:
        """Whether the tasks are points of a sweep."""
        return self.tasks[0].point is not None


def plan(
    spec: JobSpec,
    *,
    cwd: str,
    executor: str | None = None,
    ranks: int | None = None,
    args: Sequence[str] = (),
    python: str = sys.executable,
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """Return what a spec means on an executor.

    Args:
        spec: What the file asks for.
        cwd: Absolute path of the folder of submission, from which relative paths start.
        executor: In place of the spec's; another one makes it a smoke test.
        ranks: All ranks, in place of the spec's.
        args: Appended to the command.
        python: The interpreter that submits.
        environ: The submitting environment, of which only the names matter: what is set there already is not
            set again by a default.

    Raises:
        SpecError: The executor is unknown or cannot do what the spec asks for; with every reason.
    """
    target = executor or spec.executor
    if target not in EXECUTORS:
        expected = f"one of {', '.join(EXECUTORS)}"
        raise SpecError(complaint("--executor", "unknown name", got=target, expected=expected))
    notes: list[str] = []
    if target != spec.executor:
        spec, notes = _smoke_test(spec, target)
    shape, misshapen = _shape(spec, target, ranks)
    refused = _refused(spec, target) + misshapen
    if refused:
        raise SpecError("\n".join(refused))
    return Plan(
        name=spec.name.fill(dict.fromkeys(spec.name.references(), "*")),
        executor=target,
        tasks=_tasks(spec, tuple(args), frozenset(environ or ())),
        parallel=min(spec.parallel, max(len(spec.sweep), 1)),
        after=spec.after,
        ranks=shape.ranks,
        nodes=shape.nodes,
        ranks_per_node=shape.ranks_per_node,
        cpus_per_rank=spec.cpus_per_rank,
        gpus_per_rank=spec.gpus_per_rank,
        share_gpus=spec.share_gpus,
        memory_bytes=spec.memory_bytes,
        backend=spec.backend,
        forward=spec.forward,
        secrets=spec.secrets,
        inherit=spec.inherit,
        python=_python(spec, target, cwd) or python,
        workdir=str(Path(cwd, spec.workdir)),
        run_dir=str(Path(cwd, spec.run_dir)) if spec.run_dir else None,
        snapshot=spec.snapshot,
        setup=spec.setup,
        time_s=spec.time_s,
        retries=Retries(spec.retries.preempted, spec.retries.node_failure, spec.retries.failed),
        signal=SignalSpec(spec.signal.name, spec.signal.before_s) if spec.signal else None,
        subnet=spec.network.subnet,
        ports=spec.network.ports,
        connections_per_ip=spec.ring.connections_per_ip,
        jaccl_hostfile=str(Path(cwd, spec.jaccl.hostfile)) if spec.jaccl.hostfile else None,
        notes=tuple(notes),
        slurm=_slurm(spec) if target == "slurm" else SlurmOptions(),
        ssh=_ssh(spec, cwd, shape.nodes) if target == "ssh" else SshOptions(),
    )


def _python(spec: JobSpec, target: str, cwd: str) -> str | None:
    if target == "ssh":
        return spec.ssh.python or spec.python
    return str(Path(cwd, spec.python)) if spec.python else None


def _ssh(spec: JobSpec, cwd: str, nodes: int) -> SshOptions:
    s = spec.ssh
    return SshOptions(
        s.hosts[:nodes], _python(spec, "ssh", cwd), s.sync, s.detach, s.workdir, s.host_keys, s.suspend_s
    )


def _slurm(spec: JobSpec) -> SlurmOptions:
    s = spec.slurm
    return SlurmOptions(s.login, s.partition, s.account, s.qos, s.constraint, s.srun, s.extra, s.skip)


def _smoke_test(spec: JobSpec, target: str) -> tuple[JobSpec, list[str]]:
    """Return the spec without what describes the machine it was written for, and what to say about it."""
    fields = type(spec).model_fields
    machine = ["nodes", "gpus_per_rank", "memory_bytes", "cpus_per_rank", "setup", "signal"]
    if spec.ranks is not None:
        machine.insert(1, "ranks_per_node")  # together they would say how many nodes
    left_out = [name for name in machine if getattr(spec, name) != fields[name].default]
    changes = {name: fields[name].default for name in left_out}
    notes = []
    if left_out:
        names = ", ".join(fields[name].alias or name for name in left_out)
        notes.append(f"smoke test on {target} instead of {spec.executor}: {names} left out")
    here = _backends_here(spec.backend, target)
    if here != spec.backend:
        notes.append(
            f"warning: backend {', '.join(spec.backend)} cannot run on {target}, {', '.join(here)} instead"
        )
        changes["backend"] = here
    return spec.model_copy(update=changes), notes


def _backends_here(backend: tuple[str, ...], target: str) -> tuple[str, ...]:
    """Return the backends with ring in place of each that the executor cannot give."""
    if target != "local":
        return backend
    return tuple(dict.fromkeys(name if name in LOCAL_BACKENDS else "ring" for name in backend))


def _refused(spec: JobSpec, target: str) -> list[str]:
    """Return a complaint about every key that the executor would have to ignore."""
    if target == "local":
        return _refused_locally(spec)
    return _refused_over_ssh(spec) if target == "ssh" else []


def _refused_locally(spec: JobSpec) -> list[str]:
    found = []
    for name in spec.backend:
        if name not in LOCAL_BACKENDS:
            text = "executor local cannot run it in this version"
            found.append(complaint(spec.where("backend"), text, got=name, expected="any, ring or none"))
    if spec.memory_bytes is not None:
        text = "executor local cannot limit memory"
        found.append(complaint(spec.where("memory"), text, expected="no memory, or another executor"))
    if spec.signal is not None and spec.time_s is None:
        text = "executor local has no time limit to be ahead of"
        found.append(complaint(spec.where("signal"), text, expected="time as well, or no signal"))
    return found


def _refused_over_ssh(spec: JobSpec) -> list[str]:
    s = spec.ssh
    if not s.hosts:
        where = spec.where("executor")
        return [complaint(where, "executor ssh needs hosts", expected="ssh: {hosts: [h1, h2]}")]
    found, here = [], spec.where("ssh")
    for host in dict.fromkeys(s.hosts):
        # It may come to stand in a ProxyCommand.
        if not _HOST.fullmatch(host):
            found.append(complaint(f"{here}.hosts", "no host", got=host, expected="[USER@]HOST[:PORT]"))
        elif s.hosts.count(host) > 1:
            found.append(complaint(f"{here}.hosts", "there twice", got=host, expected="ranks_per_node"))
    if "mpi" in spec.backend:
        wrong = "executor ssh starts the ranks itself, without mpirun"
        expected = "jobkit launch --backend mpi"
        found.append(complaint(spec.where("backend"), wrong, got="mpi", expected=expected))
    if spec.memory_bytes is not None:
        text = "executor ssh cannot limit memory"
        found.append(complaint(spec.where("memory"), text, expected="no memory, or another executor"))
    if spec.signal is not None and spec.time_s is None:
        text = "executor ssh has no time limit to be ahead of"
        found.append(complaint(spec.where("signal"), text, expected="time as well, or no signal"))
    if s.detach and spec.after:
        text = "the first host, which keeps a detached job, knows no job of this machine"
        found.append(complaint(spec.where("after"), text, expected="no ssh.detach"))
    if spec.snapshot and (not s.sync or s.workdir is not None):
        text = "the working tree is not sent"
        found.append(complaint(spec.where("snapshot"), text, expected="ssh.sync, and no ssh.workdir"))
    if spec.jaccl.hostfile is not None:
        text = "executor ssh does not hand it on in this version"
        found.append(complaint(spec.where("jaccl"), text, expected="no jaccl.hostfile"))
    return found


def _shape(spec: JobSpec, target: str, ranks: int | None) -> tuple[Geometry, list[str]]:
    """Return how many ranks run on how many nodes, and why they cannot."""
    from jobkit.spec.geometry import Geometry, geometry
    from jobkit.spec.wrong import Wrong

    hosts = len(spec.ssh.hosts) if target == "ssh" else None
    total = spec.ranks if ranks is None else ranks
    # A total for the one node there is; elsewhere it is spread over nodes of that many ranks.
    per_node = None if target == "local" and ranks is not None else spec.ranks_per_node
    if total is not None and total < 1:
        return Geometry(1, 1, 1), [complaint("-n", "not a count", got=total, expected="an integer >= 1")]
    try:
        shape = geometry(total, spec.nodes, per_node, hosts=hosts)
    except Wrong as wrong:
        where = "-n" if ranks is not None else spec.where("ranks")
        return Geometry(1, 1, 1), [complaint(where, wrong.wrong, got=wrong.got, expected=wrong.expected)]
    return shape, _refused_shape(spec, target, shape)


def _refused_shape(spec: JobSpec, target: str, shape: Geometry) -> list[str]:
    if target == "local" and shape.nodes > 1:
        expected = "1, or another executor"
        return [
            complaint(spec.where("nodes"), "executor local has one node", got=shape.nodes, expected=expected)
        ]
    if target == "ssh" and spec.ssh.hosts and shape.nodes > len(spec.ssh.hosts):
        expected = f"at most {len(spec.ssh.hosts)}"
        return [
            complaint(spec.where("nodes"), "more nodes than ssh.hosts", got=shape.nodes, expected=expected)
        ]
    return []


def _tasks(spec: JobSpec, args: tuple[str, ...], inherited: frozenset[str]) -> tuple[Task, ...]:
    defaults = _default_variables(spec, inherited)
    if not spec.sweep:
        return (_task(spec, None, {}, args, defaults),)
    return tuple(_task(spec, str(index), point, args, defaults) for index, point in enumerate(spec.sweep))


def _default_variables(spec: JobSpec, inherited: frozenset[str]) -> dict[str, str]:
    """Return OMP_NUM_THREADS, unless something else sets it."""
    elsewhere = {*spec.env, *spec.forward, *spec.secrets} | (inherited if spec.inherit else set())
    if spec.cpus_per_rank is None or "OMP_NUM_THREADS" in elsewhere:
        return {}
    return {"OMP_NUM_THREADS": str(spec.cpus_per_rank)}


def _task(
    spec: JobSpec, point: str | None, values: dict[str, str], args: tuple[str, ...], defaults: dict[str, str]
) -> Task:
    words = tuple(word.fill(values) for word in spec.run)
    return Task(
        point=point,
        values=values,
        name=spec.name.fill(values),
        command=_shell_command(words[0], args) if spec.shell else words + args,
        shell=spec.shell,
        env=defaults | {name: value.fill(values) for name, value in spec.env.items()},
    )


def _shell_command(text: str, args: tuple[str, ...]) -> tuple[str, ...]:
    """Return bash with the text; arguments go to its last line as "$@", so that no quoting is needed."""
    if not args:
        return (BASH, "-c", text)
    return (BASH, "-c", text.rstrip() + ' "$@"', "bash", *args)
