"""What the shim would set, with the source of each variable, without setting anything."""

from __future__ import annotations

from collections.abc import Mapping

from jobkit.env import names, shim, torch, translate
from jobkit.env.data import dataclass
from jobkit.env.detect import Detection
from jobkit.env.placement import Facts

SCHEMA = 1
_SECRET = ("KEY", "TOKEN", "SECRET", "PASS", "CREDENTIAL")
_RESERVED = "a port reserved at the start"


@dataclass(frozen=True)
class Variable:
    """One variable of the program.

    Attributes:
        name: Its name.
        value: None where it is known only at the start.
        source: Where the value comes from.
    """

    name: str
    value: str | None
    source: str


def variables(found: Detection, environ: Mapping[str, str], wanted: tuple[str, ...]) -> tuple[Variable, ...]:
    """Return what the program would find, in the order in which it is set."""
    if found.placement is None:
        return ()
    identity = shim.identify(environ, found)
    source = found.launcher or "no launcher"
    own = translate.placement_variables(found.placement, identity)
    shown = [Variable(name, value, _source(name, environ, source)) for name, value in own.items()]
    if wanted == ("none",) or (found.placement.size == 1 and found.launcher == "env"):
        return tuple(shown)
    if found.placement.size == 1:
        return (*shown, *_torch(found, source))
    return (*shown, *_as_found(environ))


def _source(name: str, environ: Mapping[str, str], launcher: str) -> str:
    if name in environ:
        return f"{name}, as found"
    return "this process" if name in (names.JOB, names.ATTEMPT) else launcher


def _torch(found: Detection, source: str) -> list[Variable]:
    assert found.placement is not None
    values = torch.variables(found.placement, "127.0.0.1", 0)
    shown = [Variable(name, value, source) for name, value in values.items()]
    return [Variable(v.name, None, _RESERVED) if v.name == torch.PORT else v for v in shown]


def _as_found(environ: Mapping[str, str]) -> list[Variable]:
    """Several ranks whose gang has met already, or never will: what is there stays."""
    kept = (*names.CONTRACT, names.BACKEND, names.GANG_FILE, names.TOKEN_FILE, names.VICTIM_FILE)
    return [Variable(name, environ[name], f"{name}, as found") for name in kept if name in environ]


def to_json(found: Detection, shown: tuple[Variable, ...]) -> dict[str, object]:
    """Return what `jobkit env --json` prints."""
    placement = found.placement
    return {
        "launcher": found.launcher,
        "reason": found.reason,
        "placement": None
        if placement is None
        else {n: getattr(placement, n) for n in placement.__match_args__},
        "variables": {variable.name: variable.value for variable in shown},
        "evidence": dict(found.evidence),
    }


def to_text(found: Detection, shown: tuple[Variable, ...], *, explain: bool) -> str:
    """Return the variables, NAME=VALUE a line; with `explain` their sources too, and the launcher's."""
    if not explain:
        return "\n".join(_line(variable) for variable in shown)
    said = [f"launcher: {found.launcher or 'none'} ({found.reason})"]
    said += [f"  {name}: {answer}" for name, answer in found.evidence]
    width = max((len(_line(variable)) for variable in shown), default=0)
    return "\n".join([*said, *(f"{_line(v).ljust(width)}  ← {v.source}" for v in shown)])


def _line(variable: Variable) -> str:
    return f"{variable.name}={'<after placement>' if variable.value is None else variable.value}"


def record(environ: Mapping[str, str], facts: Facts) -> dict[str, object]:
    """Return an environment and its facts for `--from` elsewhere, without what may be secret."""
    kept = {k: "" if any(word in k.upper() for word in _SECRET) else v for k, v in environ.items()}
    known = {"host": facts.host, "hostfile_hosts": facts.hostfile_hosts}
    return {"schema": SCHEMA, "environ": kept, "facts": known}


def recorded(text: str) -> tuple[dict[str, str], Facts]:
    """Return environment and facts from what `record` gave, or from the output of `env` or `env -0`.

    Raises:
        ValueError: It is none of them.
    """
    from jobkit.env.json_ import loads

    if text.lstrip().startswith("{"):
        said = loads(text)
        facts, hosts = said["facts"], said["facts"]["hostfile_hosts"]
        return said["environ"], Facts(facts["host"], None if hosts is None else tuple(hosts))
    lines = text.split("\0") if "\0" in text else text.split("\n")
    pairs = [line.partition("=")[::2] for line in lines if "=" in line]
    if not pairs:
        raise ValueError("no NAME=VALUE in it")
    return dict(pairs), Facts()
