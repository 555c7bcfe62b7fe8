"""A task of IBM's jsrun, or the batch shell of an LSF job."""

from __future__ import annotations

from jobkit.env.launchers.batch import refusal
from jobkit.env.launchers.read import placed
from jobkit.env.placement import Facts, Found, NotARank

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANK, _SIZE = "JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"
_JOB, _INDEX, _NAMESPACE = "LSB_JOBID", "LSB_JOBINDEX", "PMIX_NAMESPACE"
_RANKFILE, _HOSTFILE, _HOSTS = "LSB_DJOB_RANKFILE", "LSB_DJOB_HOSTFILE", "LSB_MCPU_HOSTS"
_SOURCES = (
    ("rank", _RANK),
    ("size", _SIZE),
    ("local_rank", "JSM_NAMESPACE_LOCAL_RANK"),
    ("local_size", "JSM_NAMESPACE_LOCAL_SIZE"),
)


def detect(environ: Mapping[str, str], facts: Facts) -> Found | NotARank | None:
    """Return what jsrun says; without it an LSF job is one shell, on the first of its hosts.

    Source: https://www.ibm.com/docs/en/SSWRJV_10.1.0/lsf_config_ref/lsf_envars_job_exec.html.
    """
    if _RANK in environ or _SIZE in environ:
        placement = placed(environ, facts, _SOURCES)
        names = [environ[name] for name in (_JOB, _NAMESPACE) if environ.get(name)]
        job = "lsf-" + ".".join(names) if len(names) == 2 else ""
        return Found(placement, job, sources=(*_SOURCES, ("job", _JOB)) if job else _SOURCES)
    job = environ.get(_JOB, "")
    if not job:
        return None
    index = environ.get(_INDEX, "0")
    shown = job if index in ("", "0") else f"{job}[{index}]"
    return refusal("LSF", _JOB, shown, _slots(environ, facts), "jsrun -n N jobkit exec -- COMMAND")


def _slots(environ: Mapping[str, str], facts: Facts) -> dict[str, int] | None:
    """Return the slots of each host: from the file of ranks, without its first line, or `h1 4 h2 4`."""
    files = dict(facts.files)
    hosts: list[str]
    if _RANKFILE in files:
        hosts = files[_RANKFILE].split()[1:]
    elif _HOSTFILE in files:
        hosts = files[_HOSTFILE].split()
    else:
        words = environ.get(_HOSTS, "").split()
        if not words or len(words) % 2 or not all(n.isdigit() and int(n) < 10**6 for n in words[1::2]):
            return None
        return {host: int(n) for host, n in zip(words[::2], words[1::2], strict=True)}
    return {host: hosts.count(host) for host in dict.fromkeys(hosts)}
