"""Compare the keys of a spec with each other, and report everything that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from jobkit.spec.document import dotted
from jobkit.spec.geometry import geometry
from jobkit.spec.interpolate import Template
from jobkit.spec.wrong import Path, Wrong

if TYPE_CHECKING:
    from jobkit.spec.model import JobSpec

# What jobkit itself sets in every rank; a value from the spec would be lost.
_MLX = ("RANK", "WORLD_SIZE", "HOSTFILE", "IBV_DEVICES", "JACCL_COORDINATOR", "JACCL_RING")
_JACCL = ("RANK", "IBV_DEVICES", "COORDINATOR", "RING")
_PLACEMENT = ("JOB", "RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "NODE", "NODES", "ATTEMPT", "RUN_DIR")
_GROUP = ("BACKEND", "GANG_FILE", "TOKEN_FILE", "VICTIM_FILE", "OUTER", "AGENT_FD", "SPEC_HASH", "KEEPER")
_SETTLED = (
    "ADDRESSES",
    "SHARED_DIR",
    "PORTS",
    "SUBNET",
    "CONNECTIONS_PER_IP",
    "NCCL_PORT",
    "GPUS_PER_RANK",
    "SHARE_GPUS",
    "JACCL_HOSTFILE",
)
CONTRACT_VARIABLES = frozenset(
    (
        *(f"MLX_{name}" for name in _MLX),
        *(f"JACCL_{name}" for name in _JACCL),
        *(f"JOBKIT_{name}" for name in _PLACEMENT + _GROUP + _SETTLED),
        "NCCL_HOST_IP",
        "NCCL_PORT",
    )
)
TORCH_VARIABLES = frozenset(
    ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
)


def _check_geometry(spec: JobSpec) -> Iterator[Wrong]:
    try:
        geometry(spec.ranks, spec.nodes, spec.ranks_per_node)
    except Wrong as wrong:
        wrong.at = ("ranks",)
        yield wrong


def _check_references(spec: JobSpec) -> Iterator[Wrong]:
    """Yield each `${{ sweep.KEY }}` that some point of the sweep has no value for."""
    known = frozenset.intersection(*(frozenset(point) for point in spec.sweep)) if spec.sweep else frozenset()
    expected = f"one of {', '.join(sorted(known))}" if known else "a key of `sweep`, which has none"
    for path, text in _templates(spec):
        for key in sorted(text.references() - known):
            yield Wrong("unknown value of the sweep", got=key, expected=expected, at=path)


def _check_names(spec: JobSpec) -> Iterator[Wrong]:
    """Yield each value of the sweep that cannot be part of the job's name."""
    for index, point in enumerate(spec.sweep):
        for key in sorted(spec.name.references() & set(point)):
            if not point[key].isprintable():
                expected = f"another value at point {index}, or a name without {key}"
                yield Wrong(
                    "a character that no name can have", got=point[key], expected=expected, at=("sweep",)
                )


def _check_secrets(spec: JobSpec) -> Iterator[Wrong]:
    """Yield each secret that would be on a command line, or in the record of the job."""
    for path, text in _templates(spec):
        for name in sorted(text.variables & set(spec.secrets)):
            yield Wrong(
                "a secret where it could be read", got=f"${{{name}}}", expected="secrets alone", at=path
            )


def _templates(spec: JobSpec) -> Iterator[tuple[Path, Template]]:
    yield ("name",), spec.name
    yield from ((("run",), word) for word in spec.run)
    yield from ((("env", name), value) for name, value in spec.env.items())


def _check_variables(spec: JobSpec) -> Iterator[Wrong]:
    """Yield each name that jobkit sets itself, and each that has two sources."""
    ours = CONTRACT_VARIABLES | (frozenset() if spec.backend == ("none",) else TORCH_VARIABLES)
    seen: dict[str, str] = {}
    for path, name in _variables(spec):
        if name in ours:
            yield Wrong("jobkit sets it in every rank", got=name, expected="another variable", at=path)
        if name in seen:
            yield Wrong(
                f"already under {seen[name]}", got=name, expected="one place for each variable", at=path
            )
        seen[name] = dotted(path[:1])


def _variables(spec: JobSpec) -> Iterator[tuple[Path, str]]:
    yield from ((("env", name), name) for name in spec.env)
    yield from ((("forward", index), name) for index, name in enumerate(spec.forward))
    yield from ((("secrets", index), name) for index, name in enumerate(spec.secrets))


def _check_signal(spec: JobSpec) -> Iterator[Wrong]:
    if spec.signal and spec.time_s is not None and spec.signal.before_s >= spec.time_s:
        before, expected = f"{spec.signal.before_s:g}s", f"less than {spec.time_s:g}s"
        yield Wrong("not ahead of the time limit", got=before, expected=expected, at=("signal", "before"))


CHECKS: tuple[Callable[[JobSpec], Iterator[Wrong]], ...] = (
    _check_geometry,
    _check_references,
    _check_names,
    _check_secrets,
    _check_variables,
    _check_signal,
)
