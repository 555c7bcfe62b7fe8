"""Jobs of another machine: which, and through a login node (`slurm.login`) what stands for what is there.

What is not known before there is a connection has a placeholder, which a dry run shows.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobkit.errors import SpecError, complaint
from jobkit.jobs import folder
from jobkit.remote import tree

if TYPE_CHECKING:
    from jobkit.plan import Plan
    from jobkit.spec import JobSpec

TREE = "<tree>"
PYTHON = "<python>"


@dataclass(frozen=True)
class Login:
    """Where a job was sent from this machine.

    Attributes:
        login: The login node, [USER@]HOST[:PORT].
        python: The interpreter there, None for what `python3` is.
        root: The working tree here.
        keys: Which host keys are believed.
        package: Folder there of the jobkit that was brought along; None for the one that `python` has.
    """

    login: str
    python: str | None
    root: str
    keys: str = "strict"
    package: str | None = None

    @property
    def key(self) -> tuple[str, str, str, str | None]:
        """What the session with it is opened with."""
        return self.login, self.python or "python3", self.keys, self.package


def cwd(spec: JobSpec, here: str) -> str:
    """Return the folder of submission as it is on the login node.

    Raises:
        SpecError: The spec names a path that is not in the working tree.
    """
    root = tree.root(here)
    if spec.python is not None and not Path(spec.python).is_absolute():
        expected = f"an absolute path on {spec.slurm.login}"
        raise SpecError(complaint(spec.where("python"), "relative", got=spec.python, expected=expected))
    for key, path in (("workdir", spec.workdir), ("run_dir", spec.run_dir), ("jaccl", spec.jaccl.hostfile)):
        if path is not None and not Path(path).is_absolute() and not _is_inside(Path(here, path), root):
            expected = f"a path in {root}, or an absolute one on {spec.slurm.login}"
            raise SpecError(
                complaint(spec.where(key), "not in the working tree", got=path, expected=expected)
            )
    relative = os.path.relpath(here, root)
    return TREE if relative == "." else f"{TREE}/{relative}"


def of(plan: Plan, cwd: str) -> Login:
    """Return where a plan wants to be submitted from."""
    assert plan.slurm.login is not None, "a plan for a login node"
    return Login(plan.slurm.login, None if plan.python == PYTHON else plan.python, str(tree.root(cwd)))


def snapshot(job_id: str) -> str:
    """Return where the copy is that a job with `snapshot: true` runs from there: jobs lie beside trees."""
    return f"{TREE}/../../jobs/{job_id}/{folder.SNAPSHOT}"


def _is_inside(path: Path, root: Path) -> bool:
    full = Path(os.path.normpath(path))
    return root in (full, *full.parents)


def there(plan: Plan, tree_there: str, python: str) -> Plan:
    """Return a plan with what the login node has in place of what stood for it."""

    def known(text: str | None) -> str | None:
        if text is None:
            return None
        return os.path.normpath(text.replace(TREE, tree_there, 1)) if text.startswith(TREE) else text

    return replace(
        plan,
        python=python if plan.python == PYTHON else plan.python,
        workdir=str(known(plan.workdir)),
        run_dir=known(plan.run_dir),
        jaccl_hostfile=known(plan.jaccl_hostfile),
        slurm=replace(plan.slurm, login=None),
    )


def dumps(login: Login) -> str:
    """Return the text of the file that says so in a run folder."""
    return json.dumps(asdict(login), indent=1) + "\n"


def read(run_dir: Path) -> Login | None:
    """Return where a job was sent; None for one of this machine."""
    try:
        return Login(**json.loads((run_dir / folder.REMOTE).read_bytes()))
    except FileNotFoundError:
        return None
