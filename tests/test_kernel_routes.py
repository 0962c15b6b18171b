"""What the kernel's multicast routing forwards, from its two files as it writes them."""

import sys

import pytest

from forwarder.api.kernel_routes import parse
from igmp.link import parse_address

VIFS = """Interface      BytesIn  PktsIn  BytesOut PktsOut Flags Local    Remote
 0 eth0        1316      1         0       0 00000 0100000A 00000000
 1 eth1           0      0      1316       1 00000 0101A8C0 00000000
"""


def cache(line: str) -> str:
    return f"Group    Origin   Iif     Pkts    Bytes    Wrong Oifs\n{line}\n"


def printed(address: str) -> str:
    return f"{int.from_bytes(parse_address(address).to_bytes(4), sys.byteorder):08X}"


@pytest.mark.parametrize(("line", "words"), [
    ("{} {} 0 1 1316 0  1:1", "the kernel forwards it too, from eth0 to eth1 (ip mroute)"),
    ("{} {} 0 1 1316 0  1:1 9:1", "the kernel forwards it too, from eth0 to eth1, ? (ip mroute)"),
    ("{} {} 0 1 1316 0 ", None), ("{} {} -1", None), ("", None), ("nonsense", None), ("{} \xff", None),
])  # fmt: skip
def test_what_the_kernel_forwards_is_said_and_odd_lines_are_passed_over(line, words):
    text = cache(line.format(printed("239.1.2.3"), printed("10.0.0.7")))
    assert parse(VIFS, text, parse_address("239.1.2.3")) == words
    assert parse(VIFS, text, parse_address("239.1.2.4")) is None
    assert parse("", "", parse_address("239.1.2.3")) is None
