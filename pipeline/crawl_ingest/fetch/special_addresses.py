"""Which IP addresses are hosts on the public internet: the registries of IANA as data.

State of the registries on 2024-10-22:
https://www.iana.org/assignments/iana-ipv4-special-registry, iana-ipv6-special-registry,
ipv6-unicast-address-assignments, multicast-addresses (RFC 5771), and RFC 3879 for the withdrawn site-local addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

V4_REFUSED = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8",  # private, RFC 1918
        "100.64.0.0/10",  # shared by a carrier's customers, RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "168.63.129.16/32",  # not IANA's: Azure's platform, which answers inside its machines alone
        "169.254.0.0/16",  # link local, RFC 3927; the metadata of clouds
        "172.16.0.0/12",  # private, RFC 1918
        "192.0.0.0/24",  # protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation, RFC 5737
        "192.88.99.0/24",  # relays of 6to4, withdrawn by RFC 7526
        "192.168.0.0/16",  # private, RFC 1918
        "198.18.0.0/15",  # benchmarks, RFC 2544
        "198.51.100.0/24",  # documentation, RFC 5737
        "203.0.113.0/24",  # documentation, RFC 5737
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved, RFC 1112; limited broadcast, RFC 919
    )
)
V6_ALLOWED = IPv6Network("2000::/3")
"""Global unicast; nothing else is assigned to hosts on the internet (RFC 4291, RFC 3513)."""
V6_REFUSED = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID, AMT, AS112, drones
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, RFC 3056: whoever runs the relay decides where it leads
        "3ffe::/16",  # the 6bone, returned by RFC 3701
        "3fff::/20",  # documentation, RFC 9637
    )
)
V6_CARRIES_V4 = tuple(
    IPv6Network(network)
    for network in (
        "::ffff:0:0/96",  # mapped, RFC 4291: the system connects to the IPv4 address
        "64:ff9b::/96",  # NAT64, RFC 6052: how a network without IPv4 reaches it
    )
)
"""The last 32 bits are the IPv4 address that is reached, so that decides."""
V4_IN_INTERFACE = (0x00005EFE, 0x02005EFE)
"""ISATAP, RFC 5214: the upper half of an interface identifier whose lower half is an IPv4 address."""
