"""What the shim would set, with the source of each variable, without setting anything."""

from __future__ import annotations

import os
from collections.abc import Mapping

from jobkit.env import names, outer, shim, torch, translate
from jobkit.env.data import dataclass
from jobkit.env.detect import Detection
from jobkit.env.mlx import jaccl, mpi, nccl, ring
from jobkit.env.placement import Placement

_RESERVED = "a port reserved at the start"
_WRITTEN = "a file written at the start"
_ADDRESS = "the address of rank 0"
_SHOWN_HOSTS = 16
_WIDEST = 60  # a longer line does not move the column of sources

# The field of the placement behind each variable; torch's and MLX's are other names of the same.
_FIELDS = {
    **dict(zip(names.PLACEMENT, Placement.__match_args__, strict=False)),
    names.JOB: "job",
    names.ATTEMPT: "attempt",
    **dict(zip(names.TORCH, ("rank", "size", "local_rank", "local_size"), strict=False)),
    translate.MLX_RANK: "rank",
    translate.MLX_WORLD_SIZE: "size",
}

# What a backend adds, all of it known only when the ranks have met.
_OF_BACKEND: dict[str, dict[str, str]] = {
    "any": {ring.HOSTFILE: f"{_WRITTEN}, if the ring is chosen"},
    "ring": {ring.HOSTFILE: _WRITTEN},
    "nccl": {nccl.HOST_IP: _ADDRESS, nccl.PORT: _RESERVED, translate.VISIBLE: "this rank's device"},
    "jaccl": {jaccl.IBV_DEVICES: _WRITTEN, jaccl.COORDINATOR: f"{_ADDRESS}, and {_RESERVED}"},
    "jaccl-ring": {
        jaccl.IBV_DEVICES: _WRITTEN,
        jaccl.COORDINATOR: f"{_ADDRESS}, and {_RESERVED}",
        jaccl.RING: "--backend",
    },
    "mpi": dict.fromkeys(mpi.NAMES, "the library that fits the launcher"),
}


@dataclass(frozen=True)
class Variable:
    """One variable of the program.

    Attributes:
        name: Its name.
        value: None where it is known only at the start.
        source: Where the value comes from.
    """

    name: str
    value: str | None
    source: str


def variables(found: Detection, environ: Mapping[str, str], wanted: tuple[str, ...]) -> tuple[Variable, ...]:
    """Return what the program would find, in the order in which it is set."""
    if found.placement is None:
        return ()
    shown = _own(found, found.placement, environ)
    if wanted != ("none",):
        shown += _met(found, found.placement, environ, wanted)
    return (*shown, _outer(found, environ, shown))


def _own(found: Detection, placement: Placement, environ: Mapping[str, str]) -> list[Variable]:
    identity = shim.identify(environ, found)
    known = translate.placement_variables(placement, identity)
    # A job without a name is named after the shim's process, which is not this one.
    nameless = identity.job == f"{os.uname().nodename}.{os.getpid()}"
    shown = [_variable(name, known.get(name), found, environ) for name in names.PLACEMENT]
    if nameless:
        shown.append(Variable(names.JOB, None, "the process that starts the program"))
    else:
        shown.append(_variable(names.JOB, identity.job, found, environ))
    shown.append(_variable(names.ATTEMPT, known[names.ATTEMPT], found, environ))
    if identity.run_dir:
        source = f"{names.RUN_DIR}, as found" if names.RUN_DIR in environ else "this user's folder of jobs"
        shown.append(Variable(names.RUN_DIR, None if nameless else identity.run_dir, source))
    return shown


def _variable(name: str, value: str | None, found: Detection, environ: Mapping[str, str]) -> Variable:
    if value is None:
        return Variable(name, None, "the other ranks")
    return Variable(name, value, _source(name, found, environ))


def _source(name: str, found: Detection, environ: Mapping[str, str]) -> str:
    """Return the launcher's variable behind one of the program's; else what it follows from."""
    source = dict(found.found.sources).get(_FIELDS.get(name, ""), "") if found.found else ""
    if source == name and name in environ:
        return f"{name}, as found"
    if source in environ:
        return source
    if _FIELDS.get(name) == "attempt":
        return f"{source} is not set" if source else "the first"
    return found.launcher or "no launcher"


def _met(
    found: Detection, placement: Placement, environ: Mapping[str, str], wanted: tuple[str, ...]
) -> list[Variable]:
    """Return what is set beside jobkit's own for the groups of a program."""
    kept = (*names.CONTRACT, names.BACKEND, names.GANG_FILE, names.TOKEN_FILE, names.VICTIM_FILE)
    if placement.size == 1:
        return _torch(found, placement, environ)
    if found.launcher in ("jobkit", "env") and any(name in environ for name in names.CONTRACT):
        return [Variable(name, environ[name], f"{name}, as found") for name in kept if name in environ]
    shown = _torch(found, placement, environ)
    for name, value in ((translate.MLX_RANK, placement.rank), (translate.MLX_WORLD_SIZE, placement.size)):
        shown.append(_variable(name, str(value), found, environ))
    chosen = None if wanted == ("any",) else ",".join(wanted)
    shown.append(Variable(names.BACKEND, chosen, "--backend" if chosen else "what all ranks can use"))
    shown += [Variable(name, None, _WRITTEN) for name in kept if name.endswith("_FILE")]
    added = {name: source for backend in wanted for name, source in _OF_BACKEND[backend].items()}
    return shown + [Variable(n, "1" if n == jaccl.RING else None, source) for n, source in added.items()]


def _torch(found: Detection, placement: Placement, environ: Mapping[str, str]) -> list[Variable]:
    if found.launcher in translate.WITH_STORE:
        return [Variable(n, environ[n], f"{n}, as found") for n in names.TORCH if n in environ]
    alone = placement.size == 1
    values = torch.variables(placement, "127.0.0.1", 0)
    known = {name: value for name, value in values.items() if value != str(None)}
    shown = [_variable(name, known.get(name), found, environ) for name in names.TORCH[:4]]
    address, port = names.TORCH[4:]
    shown.append(Variable(address, values[address] if alone else None, _ADDRESS))
    return [*shown, Variable(port, None, _RESERVED)]


def _outer(found: Detection, environ: Mapping[str, str], shown: list[Variable]) -> Variable:
    """Return the variable that holds the launchers around the program, among them the shim's own settings."""
    source = "the launchers that are visible here"
    known = {variable.name: variable.value for variable in shown}
    if known.get(ring.HOSTFILE, "") is None:
        return Variable(names.OUTER, None, source)
    program = {**environ, **{name: value for name, value in known.items() if value is not None}}
    return Variable(names.OUTER, outer.record(found.outer, program)[names.OUTER], source)


def to_json(found: Detection, shown: tuple[Variable, ...]) -> dict[str, object]:
    """Return what `jobkit env --json` prints."""
    placement = found.placement
    return {
        "launcher": found.launcher,
        "reason": found.reason,
        "placement": None
        if placement is None
        else {n: getattr(placement, n) for n in placement.__match_args__},
        "variables": {variable.name: variable.value for variable in shown},
        "evidence": dict(found.evidence),
    }


def to_text(found: Detection, shown: tuple[Variable, ...], *, explain: bool) -> str:
    """Return the variables, NAME=VALUE a line; with `explain` their sources too, and the launcher's."""
    if not explain:
        return "\n".join(_line(variable) for variable in shown)
    said = [f"launcher: {found.launcher or 'none'} ({found.reason})"]
    said += [f"  {name}: {answer}" for name, answer in found.evidence]
    said.append(f"placement: {_place(found.placement)}")
    width = max((len(line) for line in map(_line, shown) if len(line) <= _WIDEST), default=0)
    return "\n".join([*said, *(f"{_line(v).ljust(width)}  ← {v.source}" for v in shown)])


def _line(variable: Variable) -> str:
    return f"{variable.name}={'<after placement>' if variable.value is None else variable.value}"


def _place(placement: Placement | None) -> str:
    if placement is None:
        return "none"
    p = placement
    local_size, node, nodes = ("?" if n is None else n for n in (p.local_size, p.node, p.nodes))
    hosts = [host or "?" for host in p.hosts[:_SHOWN_HOSTS]] + (["…"] if p.size > _SHOWN_HOSTS else [])
    return (
        f"rank {p.rank} of {p.size}, local rank {p.local_rank} of {local_size}, node {node} of {nodes}, "
        f"hosts {' '.join(hosts)}"
    )
