"""Turn a placement and the gang's table into what the program finds: variables and files."""

from __future__ import annotations

from jobkit.env import names, torch
from jobkit.env.data import dataclass
from jobkit.env.placement import Placement

TYPE_CHECKING = False

if TYPE_CHECKING:
    from jobkit.env.gang import Table

MLX_RANK, MLX_WORLD_SIZE = "MLX_RANK", "MLX_WORLD_SIZE"


@dataclass(frozen=True)
class Identity:
    """Which attempt of which job a rank belongs to.

    Attributes:
        job: The job's id, ID/POINT for a point of a sweep.
        attempt: Counted from 1.
        run_dir: Absolute; "" where there is none.
    """

    job: str
    attempt: int
    run_dir: str

    @property
    def folder(self) -> str:
        """Folder of the files that this attempt's ranks on this host share."""
        return f"{self.run_dir}/attempt-{self.attempt}/gang"


@dataclass(frozen=True)
class Translation:
    """What changes between the environment found and the program's.

    Attributes:
        variables: What is set.
        files: Path and text of every file that the variables name.
    """

    variables: dict[str, str]
    files: tuple[tuple[str, str], ...] = ()


def placement_variables(placement: Placement, identity: Identity) -> dict[str, str]:
    """Return jobkit's own variables, which every program finds whatever its backend."""
    p = placement
    values = (p.rank, p.size, p.local_rank, p.local_size, p.node, p.nodes)
    own = {name: str(value) for name, value in zip(names.PLACEMENT, values, strict=True)}
    own |= {names.JOB: identity.job, names.ATTEMPT: str(identity.attempt)}
    return {**own, names.RUN_DIR: identity.run_dir} if identity.run_dir else own


def alone(placement: Placement, identity: Identity, torch_port: int) -> Translation:
    """Return what the only rank of a job finds: no contract variable, so that every group is of size one."""
    own = placement_variables(placement, identity)
    return Translation({**own, **torch.variables(placement, "127.0.0.1", torch_port)})


def together(
    placement: Placement, identity: Identity, table: Table, backends: tuple[str, ...], devices: str = ""
) -> Translation:
    """Return what one rank of several finds.

    Args:
        placement: The rank's.
        identity: The attempt's.
        table: Everybody's reports.
        backends: Resolved; none is `any` or `none`.
        devices: This rank's part of the CUDA devices; "" leaves them as they are.
    """
    # A program that is alone never needs these.
    from jobkit.env import gpu, layer
    from jobkit.env.mlx import nccl, ring
    from jobkit.env.reachable import reachable

    hosts, gang, token = (f"{identity.folder}/{name}" for name in ("hosts.json", "gang.json", "token"))
    addresses = reachable(table)
    first = addresses[0][0]
    variables = placement_variables(placement, identity)
    variables |= torch.variables(placement, first, table.reports[0].torch)
    variables |= {MLX_RANK: str(placement.rank), MLX_WORLD_SIZE: str(placement.size)}
    variables |= {names.BACKEND: ",".join(backends)}
    variables |= layer.variables(gang, token, victim_file(identity, placement.rank))
    files = [(gang, layer.gang_file(table, addresses, identity.job, identity.attempt)), (token, table.token)]
    variables |= {gpu.VISIBLE: devices} if devices else {}
    if "nccl" in backends:
        variables |= nccl.variables(table, first)
    if needs_ring(backends, table):
        variables |= ring.variables(hosts)
        files.append((hosts, ring.hostfile(table, addresses)))
    return Translation(variables, tuple(files))


def needs_ring(backends: tuple[str, ...], table: Table) -> bool:
    """Say whether the ring's variables are set.

    Beside `ring` itself, where MLX has no part for the backend chosen: there `init()` would otherwise make
    as many groups of one as there are ranks, silently.
    """
    return "ring" in backends or ("nccl" in backends and not all(r.cuda_build for r in table.reports))


def victim_file(identity: Identity, rank: int) -> str:
    """Return where a rank writes `{"victim_of": R}` before it raises an error that rank R caused."""
    return f"{identity.run_dir}/attempt-{identity.attempt}/rank-{rank}.victim.json"


def program_environ(environ: dict[str, str], translation: Translation) -> dict[str, str]:
    """Return the program's environment: nothing stale of the contract, nothing that the agent handed down."""
    stale = {
        *names.CONTRACT,
        *names.HANDED_DOWN,
        names.BACKEND,
        names.GANG_FILE,
        names.TOKEN_FILE,
        names.VICTIM_FILE,
    }
    return {**{k: v for k, v in environ.items() if k not in stale}, **translation.variables}
