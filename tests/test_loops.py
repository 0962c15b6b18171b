"""Frames of our own are recognised by the hardware address of another port, and by nothing less."""

import numpy as np

from forwarder.dataplane.frame import ROW, source_word
from forwarder.dataplane.loops import OwnAddresses

UP, DOWN, STRANGER = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02", b"\x02\0\0\0\1\x01"
COUSIN = b"\x06\0\0\0\0\x02"  # the last octets of DOWN


def rows_from(*sources: bytes):
    rows = np.zeros(len(sources), ROW)
    rows["source"] = [source_word(source) for source in sources]
    return rows


def test_frames_of_another_port_are_ours():
    own = OwnAddresses({0: UP, 3: DOWN})
    assert own.returned(0, rows_from(STRANGER, DOWN, COUSIN, DOWN)).tolist() == [1, 3]
    assert own.returned(3, rows_from(UP, STRANGER)).tolist() == [0]


def test_of_the_ports_own_address_nothing_is_concluded_whoever_shares_it():
    own = OwnAddresses({0: UP, 1: UP, 2: DOWN})
    assert own.returned(0, rows_from(UP, DOWN)).tolist() == [1]


def test_without_ports_or_on_an_unknown_one_nothing_is_ours():
    assert OwnAddresses({}).returned(0, rows_from(UP)).size == 0
    assert OwnAddresses({1: UP}).returned(7, rows_from(UP)).size == 0
