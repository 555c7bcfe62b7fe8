"""An environment with its facts as text: to be sent to somebody else, and explained there."""

from __future__ import annotations

from collections.abc import Mapping

from jobkit.env.placement import Facts

SCHEMA = 1
_REMOVED = "removed"
# Words in the names of variables whose values nobody else is to see; and of the parts of other values.
_SECRET = ("KEY", "TOKEN", "SECRET", "PASS", "PWD", "CREDENTIAL", "AUTH", "COOKIE", "SESSION", "CREDS")
_HARMLESS = ("PWD", "OLDPWD", "JOBKIT_TOKEN_FILE")


def record(environ: Mapping[str, str], facts: Facts) -> dict[str, object]:
    """Return what `recorded` reads, without what may be secret."""
    kept = {name: value if name in _HARMLESS else _public(name, value) for name, value in environ.items()}
    known = {name: getattr(facts, name) for name in Facts.__match_args__}
    return {"schema": SCHEMA, "environ": kept, "facts": known}


def _is_secret(name: str) -> bool:
    return name.upper().endswith("PW") or any(word in name.upper() for word in _SECRET)


def _public(name: str, value: str) -> str:
    """Return a value without what is secret in it, as `user:password@` in an address."""
    import re

    if _is_secret(name):
        return ""
    value = re.sub(r"://[^/\s]+@", f"://{_REMOVED}@", value)
    value = re.sub(r"(?i)\b(bearer|basic)\s+\S+", rf"\1 {_REMOVED}", value)
    return "".join(_part(part) for part in re.split(r"([\s,;&?]+)", _members(value)))


def _part(text: str) -> str:
    name, equals, _ = text.partition("=")
    return f"{name}={_REMOVED}" if equals and _is_secret(name) else text


def _members(text: str) -> str:
    """Return JSON text without the values of members whose names are those of secrets."""
    import re

    def member(found: re.Match[str]) -> str:
        return f'{found[1]}"{_REMOVED}"' if _is_secret(found[1]) else found[0]

    return re.sub(r'("[^"]{1,80}"\s{0,8}:\s{0,8})"[^"]*"', member, text)


def recorded(data: bytes) -> tuple[dict[str, str], Facts]:
    """Return environment and facts from what `record` gave as JSON, or from the output of `env` or `env -0`.

    Bytes that are not UTF-8 become what they are in `os.environ`.

    Raises:
        ValueError: It is none of them.
    """
    text = data.decode(errors="surrogateescape")
    if text.lstrip().startswith("{"):
        return _from_json(text)
    pairs = _pairs(text.split("\0")) if "\0" in text else _pairs(_entries(text))
    if not pairs or not all(name.isprintable() for name in pairs):
        raise ValueError("no NAME=VALUE in it, or not only that")
    return pairs, Facts()


def _entries(text: str) -> list[str]:
    """Return the variables of `env`'s output: a line without a name goes on with the value before it."""
    entries: list[str] = []
    for line in text.removesuffix("\n").split("\n"):
        name, equals, _ = line.partition("=")
        if entries and not (equals and name and not any(c.isspace() for c in name)):
            entries[-1] += f"\n{line}"
        else:
            entries.append(line)
    return entries


def _pairs(entries: list[str]) -> dict[str, str]:
    return {name: value for name, equals, value in (e.partition("=") for e in entries) if equals and name}


def _from_json(text: str) -> tuple[dict[str, str], Facts]:
    import json

    said = json.loads(text)
    environ, known = said.get("environ"), said.get("facts")
    if not isinstance(environ, dict) or not all(isinstance(value, str) for value in environ.values()):
        raise ValueError("no object of texts under `environ`")
    if not isinstance(known, dict):
        raise ValueError("no object under `facts`")
    return environ, _facts(known)


def _facts(known: dict[str, object]) -> Facts:
    """Return facts with every value of the type that detection expects.

    Raises:
        ValueError: One is not.
    """
    hosts, above, files = (known.get(name) for name in ("hostfile_hosts", "ancestors", "files"))
    return Facts(
        _text(known.get("host")),
        None if hosts is None else tuple(str(host) for host in _list(hosts)),
        None if above is None else tuple((_pid(pid), str(name)) for pid, name in _list(above)),
        _flag(known.get("contained")),
        _text(known.get("cgroup")),
        _flag(known.get("terminal")),
        tuple((str(name), str(text)) for name, text in _list(files or [])),
    )


def _list(value: object) -> list[list[object]]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is no list")
    return value


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _flag(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _pid(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError(f"{value!r} is no process id")
    return value
