"""Read the numbers of a placement from an environment, with errors that name the variable."""

from __future__ import annotations

from jobkit.env.placement import Facts, Placement
from jobkit.errors import PlacementError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

# Bound of a count: no job has more ranks, and no process id of Linux is larger.
MOST = 1 << 22
_INHERITED = "unset what another launcher left, or start the program with its launcher again"


def count(environ: Mapping[str, str], name: str, most: int = MOST) -> int:
    """Return a variable as an integer >= 0.

    Raises:
        PlacementError: It is absent, empty or no such number.
    """
    text = environ.get(name)
    if text is None:
        raise PlacementError(complaint(name, "not set, beside others of its launcher", hint=_INHERITED))
    # Lengths are compared first: a number of a million digits takes minutes to read.
    if not text.isascii() or not text.isdigit() or len(text) > 12 or int(text) > most:
        expected = f"an integer from 0 to {most}"
        raise PlacementError(
            complaint(name, "not a count", got=text[:80], expected=expected, hint=_INHERITED)
        )
    return int(text)


def optional(environ: Mapping[str, str], name: str) -> int | None:
    """Return a variable as an integer >= 0, None where it is absent.

    Raises:
        PlacementError: It is empty or no such number.
    """
    return count(environ, name) if name in environ else None


def checked(placement: Placement, sources: tuple[tuple[str, str], ...]) -> Placement:
    """Return the placement if its numbers are inside their sizes; the sources name their variables.

    Raises:
        PlacementError: One is not.
    """
    names = dict(sources)
    p = placement
    for field, value, size_field, size in (
        ("rank", p.rank, "size", p.size),
        ("local_rank", p.local_rank, "local_size", p.local_size),
        ("node", p.node, "nodes", p.nodes),
    ):
        if size is not None and value is not None and value >= size:
            name = names.get(field, field)
            raise PlacementError(
                complaint(
                    name,
                    f"not a {field.replace('_', ' ')} of this job",
                    got=value,
                    expected=f"less than {size}{_of(names.get(size_field))}",
                    hint=_INHERITED,
                )
            )
    for field, value in (("local_size", p.local_size), ("nodes", p.nodes)):
        if value is not None and value > p.size:
            raise PlacementError(
                complaint(
                    names.get(field, field),
                    f"contradicts {names.get('size', 'size')}={p.size}",
                    got=value,
                    expected=f"at most {p.size}",
                    hint=_INHERITED,
                )
            )
    return placement


def _of(name: str | None) -> str:
    return f" ({name})" if name else ""


def agree(environ: Mapping[str, str], one: str, other: str) -> None:
    """Check that two variables of one launcher say the same, where both are there.

    Raises:
        PlacementError: They do not; both are printed.
    """
    a, b = environ.get(one), environ.get(other)
    if a is not None and b is not None and a != b:
        raise PlacementError(
            complaint(f"{one}={a}", f"contradicts {other}={b}", hint="unset the one that was inherited")
        )


def own_host(size: int, rank: int, host: str | None, *, alone: bool = False) -> tuple[str | None, ...]:
    """Return a host per rank where only this rank's is known, or all are on this node."""
    return tuple(host if alone or r == rank else None for r in range(size))


def placed(environ: Mapping[str, str], facts: Facts, sources: tuple[tuple[str, str], ...]) -> Placement:
    """Return the placement of rank, size, local rank and local size, in the order of the sources.

    That is what launchers of MPI libraries tell their ranks; of nodes they say nothing.

    Raises:
        PlacementError: One of them is malformed or out of range.
    """
    rank, size, local_rank, local_size = (count(environ, name) for _, name in sources[:4])
    alone = local_size == size
    node, nodes = (0, 1) if alone else (None, None)
    hosts = own_host(size, rank, facts.host, alone=alone)
    return checked(Placement(rank, size, local_rank, local_size, node, nodes, hosts), sources)


def one_per_node(
    node: int, nodes: int, hosts: tuple[str | None, ...], sources: tuple[tuple[str, str], ...]
) -> Placement:
    """Return the placement of the one process that a launcher of whole nodes starts on each.

    Raises:
        PlacementError: The node is not one of them, or there is not a host for each.
    """
    if len(hosts) != nodes:
        names = dict(sources)
        raise PlacementError(
            complaint(f"{names['hosts']}: {len(hosts)} addresses", f"contradicts {names['size']}={nodes}")
        )
    return checked(Placement(node, nodes, 0, 1, node, nodes, hosts), sources)
