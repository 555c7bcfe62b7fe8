"""Choices handed down to the shim beside the placement, by the agent or by the script that starts it."""

from __future__ import annotations

from jobkit.env import names
from jobkit.env.data import dataclass
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Settings:
    """Choices of the spec that the shim carries out.

    Attributes:
        ports: First and last port that may be reserved; None for any.
        nccl_port: The one port for NCCL's bootstrap; None for any.
        connections_per_ip: Connections of MLX's ring per address.
        gpus_per_rank: CUDA devices per rank; 0 leaves CUDA_VISIBLE_DEVICES as it is, except under nccl.
        share_gpus: Whether ranks may share a device.
        spec_hash: Hash of the spec, "" without one.
        jaccl_hostfile: A hostfile with JACCL's matrix of devices, "" without one.
    """

    ports: tuple[int, int] | None
    nccl_port: int | None
    connections_per_ip: int
    gpus_per_rank: int
    share_gpus: bool
    spec_hash: str
    jaccl_hostfile: str = ""


def settings(environ: Mapping[str, str]) -> Settings:
    """Return what an environment says.

    Raises:
        LaunchError: A variable is not what it should be.
    """
    return Settings(
        ports=_range(environ.get(names.PORTS, "")),
        nccl_port=_number(environ, names.NCCL_BOOTSTRAP_PORT, 0, 0, 65535) or None,
        connections_per_ip=_number(environ, names.CONNECTIONS_PER_IP, 1, 1, 64),
        gpus_per_rank=_number(environ, names.GPUS_PER_RANK, 0, 0, 1024),
        share_gpus=_number(environ, names.SHARE_GPUS, 0, 0, 1) == 1,
        spec_hash=environ.get(names.SPEC_HASH, ""),
        jaccl_hostfile=environ.get(names.JACCL_HOSTFILE, ""),
    )


def _range(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    first, dash, last = text.partition("-")
    are_ports = all(text.isdecimal() and len(text) < 6 for text in (first, last))
    if not (dash and are_ports and 0 < int(first) <= int(last) < 65536):
        raise LaunchError(complaint(names.PORTS, "not a range of ports", got=text, expected="FIRST-LAST"))
    return int(first), int(last)


def _number(environ: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    if not (text.isdecimal() and len(text) < 6 and least <= int(text) <= most):
        expected = f"an integer from {least} to {most}"
        raise LaunchError(complaint(name, "not a number that it can be", got=text, expected=expected))
    return int(text)
