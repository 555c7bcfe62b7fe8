"""Bring the ranks of a foreign launcher together: as the coordinator, or by looking for it."""

from __future__ import annotations

import os
import sys

from jobkit.env import names
from jobkit.env.addresses import addresses, own
from jobkit.env.files import write_private
from jobkit.env.gang import Report, Table
from jobkit.env.json_ import dumps
from jobkit.env.placement import Found
from jobkit.env.settings import Settings
from jobkit.env.tcp.lookup import places, resolve, written
from jobkit.env.tcp.rendezvous import Rendezvous, rendezvous
from jobkit.env.tcp.tokens import token
from jobkit.errors import LaunchError, complaint

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT = "JOBKIT_GANG_TIMEOUT_S"
TIMEOUT_S = 600.0
MOST_S = 1e9


class TcpLink:
    """This rank's way to the others; `meet` as `AgentLink` has it.

    Args:
        environ: Of this process.
        found: What its launcher says.
        chosen: The spec's settings.
        run_dir: A folder that all ranks see, "" without.

    Raises:
        LaunchError: There is no place to meet, or no way to know each other.
    """

    def __init__(self, environ: Mapping[str, str], found: Found, chosen: Settings, run_dir: str) -> None:
        self._where = rendezvous(environ, found, chosen.ports, run_dir)
        self._token = token(environ, run_dir, one_host=self._where.one_host)
        self._timeout_s = _seconds(environ.get(TIMEOUT, ""))
        self._subnet = environ.get(names.SUBNET, "")
        self._given = tuple(filter(None, environ.get(names.ADDRESSES, "").split(",")))
        self._host = os.uname().nodename

    def addresses(self) -> tuple[str, ...]:
        """Return this host's addresses that the others reach, as far as it can tell now."""
        if self._where.one_host:
            return ()
        if self._given:
            return own(self._given)
        return addresses(self._subnet, self._toward())

    def _toward(self) -> str:
        where = self._where
        known = [a for a, _ in written(where.file)] if where.file else resolve(where.hosts[0], self._host)
        return next(iter(known), "")

    def meet(self, report: Report) -> Table:
        """Report and wait for everybody.

        Raises:
            LaunchError: Somebody is missing, or the ranks do not fit together.
        """
        where = self._where
        if not where.coordinates:
            from jobkit.env.tcp.participant import Participant

            search = Participant(where, self._token, places(where, self._host), _say)
            return search.meet(report, self._timeout_s)

        from jobkit.env.tcp.coordinator import Coordinator

        coordinator = Coordinator(where, self._token, _say, learns=not (self._subnet or self._given))
        if where.file:
            _announce(where, coordinator.port, report)
        try:
            return coordinator.gather(report, self._timeout_s)
        finally:
            if where.file:
                os.unlink(where.file)


def _announce(where: Rendezvous, port: int, report: Report) -> None:
    """Write where the coordinator is: its addresses, and loopback for ranks of this host."""
    write_private(where.file, dumps({"addresses": [*report.addresses, "127.0.0.1"], "port": port}))


def _seconds(text: str) -> float:
    if not text:
        return TIMEOUT_S
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < MOST_S:
        raise LaunchError(complaint(TIMEOUT, "not a number of seconds", got=text, expected="0 or more"))
    return seconds


def _say(line: str) -> None:
    sys.stderr.write(f"jobkit: {line}\n")
