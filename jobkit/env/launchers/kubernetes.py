"""A pod of an Indexed Job or a JobSet, or a pod of the MPI operator in which no mpirun has started this."""

from __future__ import annotations

from jobkit.env import names
from jobkit.env.launchers.read import count, one_per_node, optional, own_host
from jobkit.env.placement import Facts, Found, NotARank
from jobkit.errors import PlacementError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_INDEX = "JOB_COMPLETION_INDEX"
# Labels of a JobSet's pods, which the container's description gives to its program: docs/launchers.md.
_JOB_INDEX, _REPLICAS = "JOBSET_JOB_GLOBAL_INDEX", "JOBSET_GLOBAL_REPLICAS"
_COORDINATOR, _RESTARTS = "JOBSET_COORDINATOR", "JOBSET_RESTART_ATTEMPT"
_ROLE = "K_MPI_JOB_ROLE"
_ETC_HOSTS = "/etc/hosts"

_REMEDY = f"""\
add to the container (4 stands for the Job's completions, or for all pods of a JobSet):
  env:
    - {{name: {names.NODES}, value: "4"}}"""


def detect(environ: Mapping[str, str], facts: Facts) -> Found | NotARank | None:
    """Return this pod's place; Kubernetes itself gives a program its index, but not the number of pods.

    Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#completion-mode and
    https://jobset.sigs.k8s.io/docs/concepts/.
    """
    if _INDEX not in environ:
        return _mpi_operator(environ)
    if names.NODES not in environ:
        return NotARank(
            f"{_INDEX}={environ[_INDEX]}: a pod of a Kubernetes Job, which does not say how many there are; "
            f"{_REMEDY}"
        )
    nodes = count(environ, names.NODES)
    node = _node(environ, nodes)
    sources = (("rank", _INDEX), ("size", names.NODES), ("node", _INDEX), ("nodes", names.NODES))
    placement = one_per_node(node, nodes, own_host(nodes, node, facts.host), sources)
    first, first_source = _first_host(environ, facts)
    # The jobs of a JobSet have names of their own, and one coordinator.
    own = (facts.host or "").partition(".")[0].removesuffix(f"-{environ[_INDEX]}")
    base = environ.get(_COORDINATOR) or ("" if _JOB_INDEX in environ else own)
    attempt = (optional(environ, _RESTARTS) or 0) + 1
    known = (*sources, ("attempt", _RESTARTS), ("first_host", first_source))
    return Found(placement, f"kubernetes-{base}" if base else "", attempt, first, known)


def _node(environ: Mapping[str, str], nodes: int) -> int:
    """Return this pod among all: in a JobSet the index starts anew in each of its jobs.

    Raises:
        PlacementError: The pods cannot be dealt evenly to the jobs.
    """
    index, job = count(environ, _INDEX), optional(environ, _JOB_INDEX)
    if job is None:
        return index
    replicas = count(environ, _REPLICAS)
    if not replicas or nodes % replicas:
        raise PlacementError(
            complaint(f"{names.NODES}={nodes}", f"contradicts {_REPLICAS}={replicas}: jobs of unequal size")
        )
    return job * (nodes // replicas) + index


def _first_host(environ: Mapping[str, str], facts: Facts) -> tuple[str | None, str]:
    """Return the name of the first pod, `<job>-0.<subdomain>…`, and where it comes from."""
    if environ.get(_COORDINATOR):
        return environ[_COORDINATOR], _COORDINATOR
    host, index = facts.host or "", environ[_INDEX]
    named = [word for line in dict(facts.files).get(_ETC_HOSTS, "").splitlines() for word in line.split()[1:]]
    full = next((name for name in (host, *named) if name.startswith(f"{host}.") or "." in host == name), "")
    pod, dot, domain = full.partition(".")
    if _JOB_INDEX in environ or not dot or not pod.endswith(f"-{index}"):
        return None, _ETC_HOSTS
    return f"{pod.removesuffix(f'-{index}')}-0.{domain}", _ETC_HOSTS


def _mpi_operator(environ: Mapping[str, str]) -> NotARank | None:
    role = environ.get(_ROLE)
    if not role:
        return None
    return NotARank(
        f"{_ROLE}={role}: a {role} pod of the MPI operator, which is no rank; let its command be "
        "mpirun -n N jobkit exec -- COMMAND"
    )
