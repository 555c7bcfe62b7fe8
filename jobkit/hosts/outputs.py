"""What the commands on a host have printed, by the names of the files that a recording keeps them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobkit.errors import SpecError, complaint
from jobkit.hosts.model import DARWIN, LINUX

SYSTEM, SSH = "uname.txt", "ssh_connection.txt"
PROFILE, HARDWARE, RDMA = "system_profiler.json", "networksetup.txt", "ibv_devices.txt"
EN0, EN1 = "ipconfig_getifaddr_en0.txt", "ipconfig_getifaddr_en1.txt"
IFCONFIG, NETSTAT = "ifconfig.txt", "netstat.txt"
IP_ADDRESS, IP_ROUTE = "ip_address.json", "ip_route.json"
RDMA_LINK, INFINIBAND = "rdma_link.json", "infiniband.txt"

COMMON = {SYSTEM: "uname -s", SSH: "echo $SSH_CONNECTION"}
# Files that a port keeps about itself; the path is in front of each line. Its table of GIDs is nearly empty.
_NO_GID = r":\(0000:\)\{7\}0000$"
_PORT = "/sys/class/infiniband/*/ports/*"
_FILES = " ".join(f"{_PORT}/{name}" for name in ("state", "rate", "link_layer", "gids/*", "gid_attrs/*/*"))
COMMANDS: dict[str, dict[str, str]] = {
    DARWIN: {
        PROFILE: "system_profiler SPThunderboltDataType -json",
        HARDWARE: "networksetup -listallhardwareports",
        RDMA: "ibv_devices",
        EN0: "ipconfig getifaddr en0",
        EN1: "ipconfig getifaddr en1",
        IFCONFIG: "ifconfig",
        NETSTAT: "netstat -rn",
    },
    LINUX: {
        IP_ADDRESS: "ip -json address",
        IP_ROUTE: "ip -json -4 route",
        RDMA_LINK: "rdma -j link",
        INFINIBAND: f"grep -Hs . {_FILES} | grep -v '{_NO_GID}'; true",
    },
}


@dataclass(frozen=True)
class Outputs:
    """What was printed on a host.

    Attributes:
        name: The host's.
        where: Stands before the name of a file in errors.
        texts: By file.
        failed: Why there is no text of a file.
    """

    name: str
    where: str
    texts: Mapping[str, str]
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def system(self) -> str:
        """Darwin, Linux, …; a recording without says nothing, and is of a Mac."""
        return self.texts.get(SYSTEM, DARWIN).strip()

    def get(self, file: str) -> str:
        """Return the text of a file; "" without."""
        return self.texts.get(file, "")

    def place(self, file: str) -> str:
        """Return how a file is called in errors."""
        return f"{self.where}/{file}"

    def needed(self, file: str) -> str:
        """Return the text of a file.

        Raises:
            SpecError: There is none.
        """
        if file in self.texts:
            return self.texts[file]
        command = COMMANDS.get(self.system, {}).get(file, "")
        if file in self.failed:
            raise SpecError(complaint(self.name, f"`{command}` failed there: {self.failed[file]}"))
        raise SpecError(
            complaint(self.place(file), "no such file", hint=f"record `{command}` on {self.name}")
        )
