"""Tell whether the kernel has killed processes of this cgroup because memory ran out."""

from __future__ import annotations

_SELF, _MOUNT = "/proc/self/cgroup", "/sys/fs/cgroup"
_COUNTER = "oom_kill"
HINT = (
    "memory ran out: the kernel killed a process of its cgroup while it ran (oom_kill has grown); fewer "
    "ranks on a host, or less memory for each"
)


def kills(cgroup: str = _SELF, mount: str = _MOUNT) -> int:
    """Return how many processes of this one's cgroup the kernel has killed for want of memory, 0 if unknown.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, "memory.events"; of the first version,
    memory.oom_control.

    Args:
        cgroup: The file that names the cgroups of this process.
        mount: Where their files are.
    """
    for line in _text(cgroup).splitlines():
        number, _, rest = line.partition(":")  # '0::/user.slice', '5:cpu,memory:/job'
        controllers, _, path = rest.partition(":")
        if number == "0":
            files = [f"{mount}{path}/memory.events"]
        elif "memory" in controllers.split(","):
            # A container sees its own cgroup at the top, and may be told where that is for its host.
            files = [f"{mount}/memory{path}/memory.oom_control", f"{mount}/memory/memory.oom_control"]
        else:
            continue
        for file in files:
            for name, _, count in (row.partition(" ") for row in _text(file).splitlines()):
                if name == _COUNTER and count.isdigit():
                    return int(count)
    return 0


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
