"""Which IP addresses are hosts on the public internet, against Python's own table."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl_ingest.fetch.network import is_global


@given(st.integers(0, 2**32 - 1))
def test_only_public_ipv4_is_global(number: int) -> None:
    address = ipaddress.IPv4Address(number)
    if is_global(str(address)):
        assert address.is_global and not address.is_multicast and not address.is_reserved


@given(st.integers(0, 2**128 - 1) | st.integers(0, 2**64).map(lambda low: (0x2001_0DB8 << 96) + low))
def test_only_global_unicast_ipv6_is_global(number: int) -> None:
    address = ipaddress.IPv6Address(number)
    carried = number >> 32 in (0xFFFF, 0x64_FF9B << 64)
    assert not is_global(str(address)) or carried or (number >> 125 == 1 and address.is_global)


PRIVATE = st.sampled_from(
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.1.1", "100.64.0.1", "168.63.129.16", "0.0.0.0"]
)
CARRIERS = [
    "::ffff:{}",
    "::{}",
    "64:ff9b::{}",
    "64:ff9b:1::{}",
    "::ffff:0:{}",
    "fe80::5efe:{}",
    "2400::5efe:{}",
    "2400::200:5efe:{}",
]


@given(PRIVATE, st.sampled_from(CARRIERS))
def test_no_private_address_hides_in_another(private: str, carrier: str) -> None:
    assert not is_global(carrier.format(private))
    four = int(ipaddress.IPv4Address(private))
    assert not is_global(str(ipaddress.IPv6Address((0x2002 << 112) + (four << 80) + 1))), "6to4"
    assert not is_global(str(ipaddress.IPv6Address((0x2001_0000 << 96) + (four ^ 0xFFFFFFFF)))), "Teredo"


@pytest.mark.parametrize(
    "address",
    ["fec0::1", "64:ff9b:1::808:808", "3fff::1", "5f00::1", "100::1", "2001:db8::1", "192.88.99.1", "ff02::1"],
)
def test_special_networks(address: str) -> None:
    assert not is_global(address)
