"""The protocol's story for the log: INFO when a role changes, WARNING when something is wrong, DEBUG for the rest.

DEBUG is every message that is heard, with what it was refused for, every message that is sent, and every route. It
costs an encoding of each, so nothing of it is worked out where nobody asked for it.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping

from forwarder.agent.notices import CHANGES, role_words, words_of
from forwarder.state.ports import Port
from igmp.counters import RECEIVE_COUNTERS, STATE_COUNTERS
from igmp.link import format_address
from igmp.messages import MalformedMessage, Message, Query, RecordType, decode
from igmp.outputs import Notice, Role, Route, Send

log = logging.getLogger(__name__)

REASONS = frozenset(RECEIVE_COUNTERS + STATE_COUNTERS)
LONGEST = 8         # records, sources or ports that one line names
RECORDS = {
    RecordType.MODE_IS_INCLUDE: "IS_IN", RecordType.MODE_IS_EXCLUDE: "IS_EX",
    RecordType.CHANGE_TO_INCLUDE: "TO_IN", RecordType.CHANGE_TO_EXCLUDE: "TO_EX",
    RecordType.ALLOW_NEW_SOURCES: "ALLOW", RecordType.BLOCK_OLD_SOURCES: "BLOCK",
}  # fmt: skip


class Narrator:
    """Remembers who asked on each port; `verbose`: whether anybody wants to know of every message."""

    def __init__(self) -> None:
        self._roles: dict[int, Role] = {}
        self.verbose = log.isEnabledFor(logging.DEBUG)

    def notice(self, notice: Notice, port: Port, version: int) -> None:
        """Something that people should know; `version` is ours on the port."""
        level = logging.INFO if notice.kind in CHANGES and not notice.count else logging.WARNING
        log.log(level, "%s: %s", port.name, words_of(notice, version), extra={"event": notice.kind})

    def role(self, role: Role, port: Port, up: bool, forwards: bool) -> None:
        """Who asks on a port; that of one that goes down is no news, nor that we ask on one that has come."""
        former = self._roles.pop(role.port, None)
        if not up:
            return
        self._roles[role.port] = role
        words = role_words(role, former or Role(role.port, False, 0), forwards, port.settings.querier)
        level = logging.INFO if role.querier or forwards else logging.WARNING
        level = logging.DEBUG if role.querier and former is None else level
        log.log(level, "%s: %s", port.name, words, extra={"event": "role"})

    def heard(self, packet: bytes, port: Port, refused: Mapping[str, int]) -> None:
        """A packet, and the counters that it raised."""
        why = ", ".join(sorted(name for name in refused if name in REASONS))
        source = format_address(int.from_bytes(packet[12:16], "big"))
        log.debug("%s: heard %s of %s%s", port.name, _message(packet), source, f" ({why})" if why else "")

    def overheard(self, packet: bytes, port: Port) -> None:
        """A packet of IGMP that this host itself has sent."""
        log.debug("%s: this host itself says %s", port.name, _message(packet))

    def sent(self, send: Send, port: Port) -> None:
        """A packet of ours."""
        log.debug("%s: send %s", port.name, _message(send.packet))

    def route(self, route: Route, name: Callable[[int], str]) -> None:
        """Who wants a group now; `name` of a port index."""
        source = "any source" if route.source is None else format_address(route.source)
        ports = [at for at in range(route.ports.bit_length()) if route.ports >> at & 1]
        goes = f"wanted on {_some([name(at) for at in ports])}" if ports else "wanted nowhere"
        log.debug("%s of %s: %s", format_address(route.group), source, goes if route.present else "no route any more")


def grown(before: Mapping[str, int], after: Mapping[str, int]) -> Counter[str]:
    """The counters that have grown."""
    return Counter(after) - Counter(before)


def _message(packet: bytes) -> str:
    try:
        return _words(decode(packet[(packet[0] & 15) * 4 :]))
    except (MalformedMessage, IndexError):
        return "what is no IGMP message"


def _words(message: Message) -> str:
    if isinstance(message, Query):
        about = f" for {format_address(message.group)}" if message.group else ""
        return f"IGMPv{message.version} query{about}{_sources(message.sources)}"
    if message.leave:
        return f"leave of {format_address(message.records[0].group)}"
    if message.version < 3:
        return f"IGMPv{message.version} report of {format_address(message.records[0].group)}"
    records = [f"{RECORDS[each.type]} {format_address(each.group)}{_sources(each.sources)}" for each in message.records]
    return f"report {_some(records)}"


def _sources(sources: tuple[int, ...]) -> str:
    return f" {{{_some([format_address(source) for source in sources])}}}" if sources else ""


def _some(words: list[str]) -> str:
    more = [f"{len(words) - LONGEST} more"] if len(words) > LONGEST else []
    return ", ".join(words[:LONGEST] + more)
