"""What stands for the tools of macOS on a host that is a network namespace; its name says for which.

What they say of Thunderbolt is recorded (MAC_RECORDING); interfaces and routes are the namespace's own. What
they are asked to change is logged in MAC_FOLDER/log, one line each. Of files in MAC_FOLDER `no-sudo` lets
sudo ask for a password, and `break` (N fail, N cut, N idle) lets the N-th change fail, cut the host off, or
do nothing.
"""

import ipaddress
import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER, RECORDING = Path(os.environ["MAC_FOLDER"]), Path(os.environ["MAC_RECORDING"])
LINUX = {"en0": "eth0"}
MACOS = {linux: mac for mac, linux in LINUX.items()}


def ip(*words, check=True):
    done = subprocess.run(["/usr/sbin/ip", "-json", *words], capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(done.stderr.strip() or "ip failed")
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else []


def device(name):
    return LINUX.get(name, name)


def changes(words):
    """Log a change; break it where that is asked for."""
    with (FOLDER / "log").open("a") as log:
        log.write(" ".join(words) + "\n")
    count = len((FOLDER / "log").read_text().splitlines())
    number, kind = (FOLDER / "break").read_text().split() if (FOLDER / "break").exists() else ("0", "")
    if int(number) != count:
        return True
    if kind == "fail":
        sys.exit(f"{words[0]}: ioctl (SIOCAIFADDR): no luck today")
    if kind == "cut":
        subprocess.run(["pkill", "-KILL", "sshd"])  # of this host alone: it has a pid namespace of its own
    return kind != "idle"


def ifconfig(words):
    if len(words) > 1:
        if changes(["ifconfig", *words]):
            set_interface(*words)
        return
    for row in ip("address", "show", *(("dev", device(words[0])) if words else ())):
        flags = ",".join(flag for flag in row["flags"] if flag in ("UP", "BROADCAST", "LOOPBACK"))
        print(f"{MACOS.get(row['ifname'], row['ifname'])}: flags=8863<{flags},SIMPLEX> mtu {row['mtu']}")
        for info in row["addr_info"]:
            if info["family"] == "inet":
                mask = ipaddress.IPv4Network((0, info["prefixlen"])).netmask
                print(f"\tinet {info['local']} netmask 0x{int(mask):08x} broadcast 0.0.0.0")


def set_interface(name, *words):
    if words[0] in ("up", "down"):
        ip("link", "set", device(name), words[0])
    elif words[-1] == "delete":
        prefix = [
            info["prefixlen"]
            for row in ip("address", "show", "dev", device(name))
            for info in row["addr_info"]
            if info["local"] == words[1]
        ]
        ip("address", "del", f"{words[1]}/{prefix[0] if prefix else 32}", "dev", device(name))
    else:
        _, address, _, netmask = words
        mask = str(ipaddress.IPv4Address(int(netmask, 16))) if netmask.startswith("0x") else netmask
        ip("-4", "address", "flush", "dev", device(name))
        ip("address", "add", str(ipaddress.IPv4Interface((address, mask))), "dev", device(name))
        ip("link", "set", device(name), "up")


def route(words):
    if words[:2] == ["-n", "get"]:
        found = ip("route", "get", words[2], check=False)
        if not found:
            sys.exit("route: writing to routing socket: not in table")
        print(f"   route to: {words[2]}\n  interface: {MACOS.get(found[0]['dev'], found[0]['dev'])}")
        return
    if not changes(["route", *words]):
        return
    verb, peer, *rest = words
    if verb in ("change", "delete") and not ip("route", "show", f"{peer}/32"):
        sys.exit("route: writing to routing socket: not in table")
    to = ("dev", device(rest[1])) if rest else ()
    ip("route", {"change": "replace", "delete": "del"}.get(verb, verb), f"{peer}/32", *to)


def netstat(_words):
    print("Routing tables\n\nInternet:\nDestination        Gateway            Flags        Netif Expire")
    for row in ip("-4", "route"):
        print(f"{row['dst']:18} link#1             UCS          {MACOS.get(row['dev'], row['dev'])}")


def sudo(words):
    if (FOLDER / "no-sudo").exists():
        sys.exit("sudo: a password is required")
    os.execvp(words[1], words[1:])


def recorded(name):
    path = RECORDING / name
    if not path.exists():
        sys.exit(1)
    print(path.read_text(), end="")


tool, words = Path(sys.argv[0]).name, sys.argv[1:]
if tool == "uname":
    print("Darwin")
elif tool == "system_profiler":
    recorded("system_profiler.json")
elif tool == "networksetup":
    recorded("networksetup.txt")
elif tool == "ibv_devices":
    recorded("ibv_devices.txt")
elif tool == "ipconfig":
    recorded(f"ipconfig_getifaddr_{words[1]}.txt")
else:
    {"ifconfig": ifconfig, "route": route, "netstat": netstat, "sudo": sudo}[tool](words)
