"""Public addresses, against Python's own tables and against all ways to put one address into another."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.inputs.images.image_urls import Network, is_public

V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
V6 = st.integers(0, 2**128 - 1).map(IPv6Address)
INSIDE = st.sampled_from(
    [
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "224.0.0.0/4",
        "::/96", "fe80::/10", "fc00::/7", "fec0::/10", "ff00::/8", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16",
    ]
).map(ip_network)  # fmt: skip


@pytest.mark.parametrize(
    "text", ["93.184.215.14", "1.1.1.1", "8.8.8.8", "2606:4700::6810:1", "2a00:1450:4001:80b::200e"]
)
def test_addresses_of_the_internet_are_public(text: str) -> None:
    assert is_public(ip_address(text))


@given(st.one_of(V4, V6))
def test_what_python_knows_as_special_is_not_public(address: IPv4Address | IPv6Address) -> None:
    special = (
        address.is_private, address.is_loopback, address.is_link_local, address.is_multicast, address.is_reserved,
        address.is_unspecified,
    )  # fmt: skip
    assert not (is_public(address) and any(special))


@given(INSIDE, st.integers(0, 2**128 - 1))
def test_no_address_of_a_special_network_is_public(network: Network, offset: int) -> None:
    assert not is_public(network[offset % network.num_addresses])


@given(V4)
def test_no_ipv4_address_inside_an_ipv6_address_is_public(address: IPv4Address) -> None:
    for text in ("::", "::ffff:0:0", "64:ff9b::", "2001::", "::ffff:0:0:0"):
        assert not is_public(IPv6Address(int(IPv6Address(text)) | int(address)))
    assert not is_public(IPv6Address(int(IPv6Address("2002::")) | int(address) << 80))


@pytest.mark.parametrize(
    "text", ["169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"]
)
def test_metadata_of_clouds_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


def test_networks_of_ones_own_are_refused_too() -> None:
    own = [ip_network("93.184.0.0/16"), ip_network("2606:4700::/32")]
    assert is_public(ip_address("93.185.0.1"), own)
    assert not is_public(ip_address("93.184.215.14"), own)
    assert not is_public(ip_address("2606:4700::1"), own)


def test_an_address_with_a_zone_is_not_public() -> None:
    assert not is_public(IPv6Address("2606:4700::1%eth0"))
