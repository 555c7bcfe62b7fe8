"""The agents of a detached job's hosts: one beside the keeper, and those that outposts bring."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace

from jobkit.agent import wire
from jobkit.agent.crew import Crew
from jobkit.agent.events import Event, Problem
from jobkit.agent.request import Request
from jobkit.env import names
from jobkit.errors import Exit
from jobkit.remote import here, package
from jobkit.remote.carrier import PING_S, SILENCE_S
from jobkit.remote.crew import is_address
from jobkit.remote.exchange import Exchange
from jobkit.remote.places import Place

WAIT_S = 60.0  # for outposts to call
_TOKEN_BYTES = 32


class CalledCrew(Crew):
    """The agents of a job's places, of which the first is this machine."""

    def __init__(
        self,
        request: Request,
        places: Sequence[Place],
        point: str | None,
        exchange: Exchange,
        kept: Sequence[str] = (),
    ) -> None:
        """Prepare for hosts; entering the context takes the outposts that have called.

        Args:
            request: The job's, for this machine; what differs between hosts is theirs.
            places: Where its ranks go.
            point: Of a sweep, which has a folder of its own.
            exchange: Where outposts call.
            kept: Variables that outposts have already, and that do not cross the network again.
        """
        super().__init__(request, [(place.host, place.ranks) for place in places])
        self._places, self._point, self._exchange = tuple(places), point, exchange
        self._kept = frozenset(kept)
        self._callers: dict[int, socket.socket] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._until = self._ping_at = 0.0

    def ping(self) -> None:
        """Show the other hosts that this one lives; to be called again and again."""
        if time.monotonic() >= self._ping_at:
            self._ping_at = time.monotonic() + PING_S
            self._tell(wire.PING)

    def _bring(self) -> None:
        self._exchange.listeners.add(self._nudge)
        self._until = self._later(WAIT_S)
        self._nudge()

    def _news(self) -> list[Event]:
        """Start the ranks of all hosts once all have called; of none if one does not."""
        if self._ending or self._processes:
            return []
        for member in self._members[1:]:
            caller = None if member.node in self._callers else self._exchange.take(member.node)
            if caller is not None:
                self._callers[member.node] = caller
        missing = [member.name for member in self._members[1:] if member.node not in self._callers]
        if not missing:
            self._start_all()
        elif time.monotonic() >= self._until:
            self._has_lost = True
            self._failed(Exit.NOT_STARTED)
            return [
                Problem(Exit.NOT_STARTED, f"{name}: has not called within {WAIT_S:.0f} s") for name in missing
            ]
        return []

    def _start_all(self) -> None:
        meeting = {names.COORDINATOR: self._coordinator()} if len(self._members) > 1 else {}
        asked = replace(
            self._request,
            overlay={**meeting, **self._request.overlay},
            token=secrets.token_hex(_TOKEN_BYTES) if meeting else None,
        )
        for member in self._members:
            place = self._places[member.node]
            run_dir = place.run_dir if self._point is None else f"{place.run_dir}/{self._point}"
            own = replace(
                asked,
                python=place.python,
                package=place.package,
                workdir=place.workdir,
                run_dir=run_dir,
                addresses=asked.addresses and tuple(asked.addresses[rank] for rank in member.ranks),
            )
            if member.node:
                overlay = {name: value for name, value in own.overlay.items() if name not in self._kept}
                own = replace(own, environ={}, overlay=overlay, silence_s=SILENCE_S)
                self._hire(member, self._callers.pop(member.node), own)
            else:
                process, ours = here.start([place.python, *package.words(place.package, "jobkit.agent")])
                self._processes.append(process)
                self._hire(member, ours, own)

    def _coordinator(self) -> str:
        first = self._places[0]
        return first.address if is_address(first.address) else first.name

    def _give_up(self) -> None:
        for member in self._members:
            if member.connection is None:
                self._let_go(member)

    def _kill(self) -> None:
        self._has_lost = True

    def _leave(self, deadline: float) -> None:
        self._exchange.listeners.discard(self._nudge)
        for caller in self._callers.values():
            caller.close()  # it calls again
        here.leave(self._processes, max(0.0, min(self._request.grace_s, deadline - time.monotonic())))
