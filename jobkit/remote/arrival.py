"""Bring a job to its hosts: jobkit and the working tree, and a folder for it; all of them, or none."""

from __future__ import annotations

import queue
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TypeVar

import jobkit
from jobkit.errors import JobkitError, SpecError, SubmitError, complaint
from jobkit.plan import Plan
from jobkit.remote import package, places, session, sync, tree
from jobkit.remote.places import Place
from jobkit.remote.session import Session
from jobkit.remote.tree import Face

AT_ONCE = 8  # connections that are being made; sshd drops some of many
WHERE = "ssh.hosts"
_T = TypeVar("_T")


class Arrival:
    """What every host of a job is asked to make ready; the connections stay until the end of the block.

    Attributes:
        job_id: The job's.
        plan: The job's.
        token: Tells this submission from every other one of the same id.
        talks: The connections to hosts that are ready, by their number.
    """

    def __init__(self, job_id: str, plan: Plan, environ: Mapping[str, str]) -> None:
        self.job_id, self.plan = job_id, plan
        self.token = f"{sync.machine(environ)} {secrets.token_hex(8)}"
        self.talks: dict[int, Session] = {}
        self._environ = environ
        self._pythons = (plan.ssh.python,) if plan.ssh.python else (sys.executable, session.PYTHON)
        self._inside = places.in_tree(plan)
        self._root = tree.root(plan.workdir)
        self._files: Mapping[str, Face] = {}

    def __enter__(self) -> Arrival:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up; after an error nothing of the job is left on hosts."""
        if kind is not None:
            in_turns(self._forget, list(self.talks))
        for talk in list(self.talks.values()):
            talk.close()

    def everywhere(self) -> tuple[Place, ...]:
        """Return the job's places once all hosts are ready for it.

        Raises:
            SubmitError: Some are not; with a complaint about each.
        """
        if self._inside is not None:
            self._files = sync.manifest(self._root, self._environ)
        wanted = places.expected(self.plan)
        found = in_turns(lambda node: self._ready(node, wanted[node]), range(len(wanted)))
        errors = [answer for answer in found if isinstance(answer, JobkitError)]
        if errors:
            kind = SpecError if all(isinstance(error, SpecError) for error in errors) else SubmitError
            raise kind("\n".join(map(str, errors)))
        return tuple(place for place in found if isinstance(place, Place))

    def _ready(self, node: int, place: Place) -> Place:
        talk = Session(place.host, *self._pythons, where=WHERE, keys=self.plan.ssh.host_keys)
        try:
            brought = self._brought(talk)
            sent = None
            if self._inside is not None:
                sent = sync.name(self._root, self._environ)
                sync.transfer(talk, sent, self._root, self._files, _say)
            asked = {"ask": "place", "id": self.job_id, "token": self.token, "tree": sent}
            there = {"inside": self._inside, "workdir": self.plan.ssh.workdir or self.plan.workdir}
            self.talks[node] = talk
            answer, _ = talk.ask({**asked, **there})
        except BaseException:
            if node not in self.talks:
                talk.close()
            raise
        made = {name: answer[name] for name in ("run_dir", "workdir", "name", "address")}
        return replace(place, python=talk.python, package=brought, **made)

    def _forget(self, node: int) -> None:
        self.talks[node].ask({"ask": "forget", "id": self.job_id, "token": self.token})

    def _brought(self, talk: Session) -> str | None:
        """Return where jobkit was brought to; None where the host's own is taken.

        Raises:
            SubmitError: The host has no jobkit, or another one, and it is not to be brought.
        """
        if self.plan.ssh.sync:
            return sync.transfer(talk, package.name(), package.ROOT, package.manifest(), lambda _: None)
        if talk.jobkit == jobkit.__version__:
            return None
        install = f"ssh {talk.login} {talk.python} -m pip install jobkit=={jobkit.__version__}"
        hint = f"{install}, or `sync: true` under `ssh`"
        if talk.jobkit is None:
            raise SubmitError(complaint(talk.login, f"{talk.python} has no jobkit", hint=hint))
        wrong = f"{talk.python} has another jobkit"
        raise SubmitError(
            complaint(talk.login, wrong, got=talk.jobkit, expected=jobkit.__version__, hint=hint)
        )


def _say(text: str) -> None:
    print(f"jobkit: {text}", file=sys.stderr, flush=True)


def in_turns(do: Callable[[int], _T], nodes: Sequence[int]) -> list[_T | JobkitError]:
    """Do something for every node, for some at once; return what came of each, also of those that failed.

    ^C leaves the threads behind, which end with the process.
    """
    answers: queue.SimpleQueue[tuple[int, _T | JobkitError]] = queue.SimpleQueue()
    turns = threading.Semaphore(AT_ONCE)

    def one(index: int) -> None:
        answer: _T | JobkitError
        with turns:
            try:
                answer = do(nodes[index])
            except JobkitError as error:
                answer = error
            except Exception as error:  # noqa: BLE001  whatever a library raises: the others wait for an answer
                answer = SubmitError(complaint(WHERE, f"host {nodes[index]} cannot be used: {error!r}"))
        answers.put((index, answer))

    for index in range(len(nodes)):
        threading.Thread(target=one, args=(index,), daemon=True).start()
    done = dict(answers.get() for _ in nodes)
    return [done[index] for index in range(len(nodes))]
