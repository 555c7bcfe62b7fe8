"""Turn a placement and the gang's table into what the program finds: variables and files."""

from __future__ import annotations

from jobkit.env import names, torch
from jobkit.env.data import dataclass
from jobkit.env.placement import Placement

TYPE_CHECKING = False

if TYPE_CHECKING:
    from jobkit.env.gang import Table

MLX_RANK, MLX_WORLD_SIZE = "MLX_RANK", "MLX_WORLD_SIZE"
VISIBLE = "CUDA_VISIBLE_DEVICES"
WITH_STORE = ("torchrun", "env")  # launchers that have set torch's variables themselves


@dataclass(frozen=True)
class Identity:
    """Which attempt of which job a rank belongs to.

    Attributes:
        job: The job's id, ID/POINT for a point of a sweep.
        attempt: Counted from 1.
        run_dir: Absolute; "" where there is none.
        files: Name of the folder of the files that the variables name: the ranks of one agent share one,
            others have each their own, which they remove.
    """

    job: str
    attempt: int
    run_dir: str
    files: str = "gang"

    @property
    def folder(self) -> str:
        """Folder of the files that the variables name."""
        return f"{self.run_dir}/attempt-{self.attempt}/{self.files}"


def gang_folder(node: int | None, nodes: int | None) -> str:
    """Return the name of the folder of the files that an agent's ranks share, in the attempt's folder.

    Agents of several nodes may have the attempt's folder in common, but not what is in the files.
    """
    return "gang" if nodes in (None, 1) else f"node-{node}.gang"


@dataclass(frozen=True)
class Resolved:
    """The backends of a job, with what one rank of it needs for them beside the gang's table.

    Attributes:
        backends: None is `any` or `none`.
        devices: This rank's part of the CUDA devices; "" leaves them as they are.
        rdma: JACCL's matrix of devices in rank order, None without.
        library: Variables that name the library of MPI.
        mlx_mpi: Whether MLX itself can use that library.
        store: Whether torch's variables are set; the launchers torchrun and env have set them.
    """

    backends: tuple[str, ...]
    devices: str = ""
    rdma: str | None = None
    library: tuple[tuple[str, str], ...] = ()
    mlx_mpi: bool = False
    store: bool = True


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
    own = {n: str(v) for n, v in zip(names.PLACEMENT, values, strict=True) if v is not None}
    own |= {names.JOB: identity.job, names.ATTEMPT: str(identity.attempt)}
    return {**own, names.RUN_DIR: identity.run_dir} if identity.run_dir else own


def alone(placement: Placement, identity: Identity, torch_port: int | None, devices: str = "") -> Translation:
    """Return what the only rank of a job finds: no contract variable, so that every group is of size one.

    Args:
        placement: The rank's.
        identity: The attempt's.
        torch_port: For torch's store; None where the launcher has set torch's variables.
        devices: Its CUDA devices; "" leaves them as they are.
    """
    variables = placement_variables(placement, identity)
    variables |= {} if torch_port is None else torch.variables(placement, "127.0.0.1", torch_port)
    return Translation({**variables, VISIBLE: devices} if devices else variables)


def together(placement: Placement, identity: Identity, table: Table, chosen: Resolved) -> Translation:
    """Return what one rank of several finds.

    Args:
        placement: The rank's.
        identity: The attempt's.
        table: Everybody's reports.
        chosen: The backends, and what this rank needs for them.
    """
    # A program that is alone never needs these.
    from jobkit.env import layer
    from jobkit.env.mlx import jaccl, nccl, ring
    from jobkit.env.reachable import reachable

    paths = (f"{identity.folder}/{name}" for name in ("hosts.json", "gang.json", "token", "devices.json"))
    hosts, gang, token, devices = paths
    addresses = reachable(table)
    first = addresses[0][0]
    variables = placement_variables(placement, identity)
    variables |= torch.variables(placement, first, table.reports[0].torch) if chosen.store else {}
    variables |= {MLX_RANK: str(placement.rank), MLX_WORLD_SIZE: str(placement.size)}
    variables |= {names.BACKEND: ",".join(chosen.backends)}
    variables |= layer.variables(gang, token, victim_file(identity, placement.rank))
    files = [(gang, layer.gang_file(table, addresses, identity.job, identity.attempt)), (token, table.token)]
    variables |= {VISIBLE: chosen.devices} if chosen.devices else {}
    if "nccl" in chosen.backends:
        variables |= nccl.variables(table, first)
    if chosen.rdma is not None:
        variables |= jaccl.variables(table, first, devices, ring="jaccl-ring" in chosen.backends)
        files.append((devices, chosen.rdma))
    variables |= dict(chosen.library)
    if needs_ring(chosen, table):
        variables |= ring.variables(hosts)
        files.append((hosts, ring.hostfile(table, addresses)))
    return Translation(variables, tuple(files))


def needs_ring(chosen: Resolved, table: Table) -> bool:
    """Say whether the ring's variables are set.

    Beside `ring` itself, where MLX has no part for the backend chosen: NCCL in a build without CUDA, JACCL on
    Linux, any MPI but Open MPI. There `init()` would otherwise make as many groups of one as there are ranks,
    silently.
    """
    from jobkit.env.mlx import jaccl

    needs = {
        "ring": True,
        "nccl": not all(report.cuda_build for report in table.reports),
        "jaccl": not jaccl.MLX_HAS_IT,
        "jaccl-ring": not jaccl.MLX_HAS_IT,
        "mpi": not chosen.mlx_mpi,
    }
    return any(needs[name] for name in chosen.backends)


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
