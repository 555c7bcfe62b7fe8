"""The agents of a submitted job's hosts, where everything is ready for them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from jobkit.agent.crew import Member
from jobkit.agent.request import Request
from jobkit.env.scrub import scrub
from jobkit.errors import JobkitError, SubmitError, complaint
from jobkit.jobs import environment
from jobkit.remote import connection, host_keys, package, session
from jobkit.remote.carrier import SILENCE_S, Carrier
from jobkit.remote.crew import Host, SshCrew, There
from jobkit.remote.places import Place
from jobkit.remote.reach import Reached
from jobkit.remote.there import frames

_MODULES = ("frames", "launch", "agent")
_WHERE = "ssh.hosts"


class KeptCrew(SshCrew):
    """The agents of a job's places."""

    def __init__(
        self,
        request: Request,
        places: Sequence[Place],
        point: str | None = None,
        *,
        inherit: bool = True,
        keys: str = host_keys.STRICT,
    ) -> None:
        """Prepare for hosts; entering the context connects.

        Args:
            request: The job's; what differs between hosts is theirs.
            places: Where its ranks go.
            point: Of a sweep, which has a folder of its own.
            inherit: Whether ranks start from the environment of the login.
            keys: Which host keys are believed.
        """
        there = There(
            request.command, (), request.workdir, is_asked_for=True, finds_python=False, host_keys=keys
        )
        super().__init__(request, [Host(place.host, place.ranks, False) for place in places], there)
        self._places, self._point, self._inherit = tuple(places), point, inherit

    def _connected(self, node: int) -> Reached:
        place = self._places[node]
        channel = connection.start(place.host, session.command(place.python), _WHERE, self._there.host_keys)
        try:
            marker = secrets.token_hex(16)
            words = package.words(place.package, "jobkit.agent")
            channel.write(session.program(marker, _MODULES, "agent.main", words))
            session.skip_to(channel, marker)
            hello, _ = frames.read(channel)
            told = (hello["client"], hello["address"], hello["host"], hello["environ"])
            return Reached(channel, place.python, place.workdir, False, *told)
        except BaseException as error:
            channel.close()
            if isinstance(error, JobkitError) or not isinstance(error, Exception):
                raise
            raise SubmitError(complaint(place.host, f"cannot be used: {error!r}")) from error

    def _start_there(self, member: Member, asked: Request, reached: Reached) -> None:
        place = self._places[member.node]
        carrier = Carrier(reached.channel)
        self._carriers.append(carrier)
        carrier.start()
        environ = environment.of_ranks(scrub(reached.environ), inherit=self._inherit)
        own = replace(
            asked,
            python=place.python,
            package=place.package,
            workdir=place.workdir,
            run_dir=place.run_dir if self._point is None else f"{place.run_dir}/{self._point}",
            environ=environ,
            silence_s=SILENCE_S,
        )
        self._hire(member, carrier.near, own)
