"""Checks of this machine's RDMA, which the backends jaccl and jaccl-ring use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jobkit.doctor.row import FAILS, OK, SKIPPED, WARNING, Question, Row

INFINIBAND = Path("/sys/class/infiniband")
# What one device's messages may take of memory that cannot be swapped; with less they are cut smaller.
MEMLOCK = 64 << 20
_COMMAND_S = 20
# An IPv4 address, as a GID has it.
_OF_IPV4 = re.compile(r"0000:0000:0000:0000:0000:ffff:(?!0000:0000)[0-9a-f]{4}:[0-9a-f]{4}")
# Reads the output of a command, "" where it cannot be run.
Shell = Callable[[Sequence[str]], str]


def checks(question: Question) -> Iterator[Row]:
    """Yield what ranks that are started on this machine would find; nothing for those of other machines."""
    if question.plan is not None and question.plan.executor != "local":
        return
    is_wanted = question.plan is not None and any(name.startswith("jaccl") for name in question.plan.backend)
    if sys.platform == "darwin":
        yield from on_macs(output_of, is_wanted)
    else:
        yield from on_linux(INFINIBAND, is_wanted, output_of)


def output_of(words: Sequence[str]) -> str:
    """Return what a command says; "" where it is not installed, or does not end."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def on_linux(folder: Path, is_wanted: bool, shell: Shell) -> Iterator[Row]:
    """Yield what the kernel has.

    Args:
        folder: /sys/class/infiniband.
        is_wanted: Whether a spec asks for RDMA: without a device it would fail then.
        shell: Runs `ibv_devices`: a device may lack its part of the library.
    """
    devices = sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []
    if not devices:
        found = "the kernel has no RDMA device"
        remedy = "load the driver of the adapter; without one: rdma link add rxe0 type rxe netdev eth0"
        yield Row("RDMA", FAILS, found, remedy) if is_wanted else Row("RDMA", SKIPPED, found)
        return
    yield library(devices, shell(["ibv_devices"]))
    for device in devices:
        yield from port(folder / device)
    yield memlock(_limit())


def library(devices: Sequence[str], listed: str) -> Row:
    """Return whether programs find the kernel's devices too: `ibv_devices` asks libibverbs, as jaccl does."""
    unknown = [device for device in devices if not re.search(rf"^\s+{re.escape(device)}\s", listed, re.M)]
    if not listed:
        found = f"{', '.join(devices)}; ibv_devices, which would say whether programs find them, is not here"
        return Row("RDMA", WARNING, found, "install ibverbs-utils, which brings libibverbs")
    if unknown:
        found = f"libibverbs does not know {', '.join(unknown)}"
        return Row("RDMA", FAILS, found, "install ibverbs-providers (rdma-core)")
    return Row("RDMA", OK, ", ".join(devices))


def port(folder: Path) -> Iterator[Row]:
    """Yield whether something is at the other end of a device, and the address to send from.

    Args:
        folder: The device's, of which port 1 is used.
    """
    name, first = folder.name, folder / "ports" / "1"
    state = _read(first / "state").partition(": ")[2] or "unknown"
    netdev = _read(first / "gid_attrs" / "ndevs" / "0") or "NETDEV"
    if state != "ACTIVE":
        remedy = f"plug the cable in at both ends; ip link set {netdev} up"
        yield Row("RDMA port", WARNING, f"{name}: {state}", remedy)
        return
    yield Row("RDMA port", OK, f"{name}: {state}")
    if _read(first / "link_layer") == "InfiniBand":
        return
    found = {
        int(path.name): _read(first / "gid_attrs" / "types" / path.name)
        for path in (first / "gids").glob("*")
        if _OF_IPV4.fullmatch(_read(path))
    }
    second = [index for index, kind in found.items() if kind == "RoCE v2"]
    if second:
        yield Row("RDMA GID", OK, f"{name}: index {min(second)}, RoCE v2")
    elif found:
        wrong = f"{name}: index {min(found)} is RoCE v1 alone, which no router passes on"
        yield Row("RDMA GID", WARNING, wrong, "let the adapter speak RoCE v2: cma_roce_mode, or its firmware")
    else:
        yield Row("RDMA GID", WARNING, f"{name}: no IPv4 address", f"ip addr add ADDRESS/30 dev {netdev}")


def memlock(limit: int | None) -> Row:
    """Return whether enough memory may be kept for the devices: `limit` in bytes, None without one."""
    if limit is None:
        return Row("memlock", OK, "no limit")
    found = f"{limit >> 10} KiB may be kept in memory"
    if limit < MEMLOCK:
        remedy = "ulimit -l unlimited; for all sessions: memlock in /etc/security/limits.conf"
        return Row("memlock", WARNING, f"{found}, {MEMLOCK >> 10} are better", remedy)
    return Row("memlock", OK, found)


def on_macs(shell: Shell, is_wanted: bool) -> Iterator[Row]:
    """Yield what macOS has: RDMA over Thunderbolt 5 from version 26.2 on, once it was enabled."""
    wrong = FAILS if is_wanted else SKIPPED
    devices = re.findall(r"^\s+(rdma_\w+)\s", shell(["ibv_devices"]), re.MULTILINE)
    status = shell(["rdma_ctl", "status"]).strip()
    if not status:
        yield Row(
            "RDMA", wrong, "this macOS has no rdma_ctl", "update to macOS 26.2, on a Mac with Thunderbolt 5"
        )
        return
    if "enabled" not in status.lower():
        found = f"rdma_ctl says {status.splitlines()[0]}"
        remedy = "start into Recovery (hold the power button), Utilities > Terminal: rdma_ctl enable; restart"
        yield Row("RDMA", wrong, found, remedy)
        return
    if not devices:
        yield Row("RDMA", wrong, "enabled, and no device", "Thunderbolt 5 is needed: see System Information")
        return
    yield Row("RDMA", OK, ", ".join(devices))
    for device in devices:
        yield mac_port(device, shell(["ibv_devinfo", "-v", "-d", device]))
    yield bridge(shell(["ifconfig", "bridge0"]))


def mac_port(device: str, shown: str) -> Row:
    """Return whether a cable is in, and its interface has an address; `shown` by `ibv_devinfo -v`."""
    interface = device.removeprefix("rdma_")
    if "PORT_ACTIVE" not in shown:
        return Row("RDMA port", WARNING, f"{device}: not active", "plug the cable in at both ends")
    if "::ffff:" not in shown.lower():
        remedy = f"sudo ifconfig {interface} inet ADDRESS netmask 255.255.255.252"
        return Row("RDMA GID", WARNING, f"{device}: no IPv4 address", remedy)
    return Row("RDMA port", OK, f"{device}: ACTIVE, with an IPv4 address")


def bridge(shown: str) -> Row:
    """Return whether the Thunderbolt Bridge is off: it takes the ports from RDMA."""
    if re.match(r"bridge0: .*[<,]UP[,>]", shown):
        remedy = "sudo ifconfig bridge0 down, or delete it in System Settings > Network"
        return Row("Thunderbolt Bridge", FAILS, "bridge0 is up", remedy)
    return Row("Thunderbolt Bridge", OK, "off")


def _limit() -> int | None:
    """Return what this user may keep in memory, in bytes; None without a limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    return None if limit == resource.RLIM_INFINITY or os.geteuid() == 0 else limit


def _read(path: Path) -> str:
    """Return what the kernel says; "" where it says nothing: an unused entry of a table cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
