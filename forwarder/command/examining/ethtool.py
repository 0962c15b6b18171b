"""Offloads of network devices (linux/ethtool.h, SIOCETHTOOL); every user may ask.

pyroute2 asks for the names of all features of each device, letter by letter: a millisecond each.
"""

import array
import fcntl
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

from forwarder.diagnosis.doctor.facts import Offload

SIOCETHTOOL = 0x8946
ETHTOOL_GSSET_INFO, ETHTOOL_GSTRINGS, ETHTOOL_GFEATURES = 0x37, 0x1B, 0x3A
ETH_SS_FEATURES, ETH_GSTRING_LEN = 4, 32
IFREQ = struct.Struct("16sP16x")
BLOCK = 16              # octets: available, requested, active, never_changed of 32 features
MOST_FEATURES = 1024
LONGEST_NAME = 15


def offloads(names: Iterable[str], wanted: Iterable[str]) -> dict[str, dict[str, Offload]]:
    """By device the features of `wanted` that it knows; none of a device that does not say."""
    found: dict[str, dict[str, Offload]] = {}
    features: dict[str, int] = {}
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for name in names:
            with suppress(OSError, struct.error):
                features = features or _features(asking, name)      # are the same of all devices
                bits = {each: features[each] for each in wanted if each in features}
                found[name] = _states(asking, name, bits, len(features))
    return found


def _features(asking: socket.socket, name: str) -> dict[str, int]:
    """The number of each feature by its name."""
    said = _ask(asking, name, struct.pack("=IIQI", ETHTOOL_GSSET_INFO, 0, 1 << ETH_SS_FEATURES, 0))
    count = min(int(struct.unpack_from("=I", said, 16)[0]), MOST_FEATURES)
    head = struct.pack("=III", ETHTOOL_GSTRINGS, ETH_SS_FEATURES, count)
    texts = _ask(asking, name, head + bytes(count * ETH_GSTRING_LEN))[len(head) :]
    words = (texts[at : at + ETH_GSTRING_LEN].partition(b"\0")[0] for at in range(0, len(texts), ETH_GSTRING_LEN))
    return {word.decode(errors="replace"): number for number, word in enumerate(words)}


def _states(asking: socket.socket, name: str, bits: dict[str, int], count: int) -> dict[str, Offload]:
    blocks = -(-count // 32)
    said = _ask(asking, name, struct.pack("=II", ETHTOOL_GFEATURES, blocks) + bytes(blocks * BLOCK))
    found = {}
    for feature, number in bits.items():
        available, _, active, never = struct.unpack_from("=IIII", said, 8 + number // 32 * BLOCK)
        bit = 1 << number % 32
        found[feature] = Offload(bool(active & bit), bool(available & ~never & bit))
    return found


def _ask(asking: socket.socket, name: str, request: bytes) -> bytes:
    """What the kernel makes of a request; OSError. No name but a short one of ASCII is asked about."""
    if len(name) > LONGEST_NAME or not name.isascii():
        raise OSError
    buffer = array.array("B", request)
    fcntl.ioctl(asking, SIOCETHTOOL, IFREQ.pack(name.encode(), buffer.buffer_info()[0]))
    return buffer.tobytes()
