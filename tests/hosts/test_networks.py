"""Networks from what ifconfig and netstat of macOS print."""

from __future__ import annotations

from jobkit.hosts.model import Network
from jobkit.hosts.networks import from_ifconfig, from_netstat

IFCONFIG = """lo0: flags=8049<UP,LOOPBACK,RUNNING,MULTICAST> mtu 16384
\tinet 127.0.0.1 netmask 0xff000000
\tinet6 ::1 prefixlen 128
en0: flags=8863<UP,BROADCAST,SMART,RUNNING,SIMPLEX,MULTICAST> mtu 1500
\tether aa:bb:cc:dd:ee:ff
\tinet 192.168.128.23 netmask 0xffffff00 broadcast 192.168.128.255
utun3: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> mtu 1380
\tinet 10.8.0.2 --> 10.8.0.1 netmask 0xffffffff
"""

NETSTAT = """Routing tables

Internet:
Destination        Gateway            Flags               Netif Expire
default            192.168.128.1      UGScg                 en0
10.8/16            10.8.0.1           UGSc                utun3
127                127.0.0.1          UCS                   lo0
192.168.128        link#11            UCS                   en0      !
192.168.128.1/32   link#11            UCS                   en0      !
172.16.5.9         10.8.0.1           UGHS                utun3

Internet6:
Destination        Gateway            Flags               Netif Expire
fe80::%en0/64      link#11            UCI                   en0
"""


def test_the_networks_of_addresses() -> None:
    assert from_ifconfig(IFCONFIG) == (Network("192.168.128.0/24", "en0"), Network("10.8.0.2/32", "utun3"))


def test_the_networks_of_routes_in_short_form_without_the_default_one() -> None:
    assert from_netstat(NETSTAT) == (
        Network("10.8.0.0/16", "utun3"),
        Network("192.168.128.0/24", "en0"),
        Network("192.168.128.1/32", "en0"),
        Network("172.16.5.9/32", "utun3"),
    )


def test_what_is_no_such_output_has_no_networks() -> None:
    assert from_netstat("Destination Gateway\n1.2/99 a b\n") == ()
    assert from_netstat("Destination Netif\n1.2/99 a\n1.2.3.4.5 a\nx y\n") == ()
    assert from_ifconfig("en0: up\n\tinet 1.2 netmask 0xffffff00\n") == ()
