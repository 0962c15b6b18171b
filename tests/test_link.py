"""Addresses and networks as text: read by a table as the standard library reads them."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igmp.link import format_address, parse_address

ODD = st.text("0123456789. +-_x٣²\n", max_size=16)


@given(st.integers(0, 0xFFFFFFFF))
def test_an_address_is_read_as_it_is_written(address):
    assert parse_address(format_address(address)) == address == int(IPv4Address(format_address(address)))


@given(ODD | st.from_regex(r"[0-9]{0,4}(\.[0-9]{0,4}){2,4}", fullmatch=True) | st.text())
def test_whatever_is_no_address_for_the_standard_library_is_none(text):
    try:
        wanted = int(IPv4Address(text))
    except ValueError:
        with pytest.raises(ValueError):
            parse_address(text)
    else:
        assert parse_address(text) == wanted
