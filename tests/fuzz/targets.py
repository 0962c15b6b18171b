"""What is fuzzed: each target takes any bytes and raises only when something is wrong.

`decode`: the codec; `receive`: everything around a message; `operations`: a whole proxy that is joined, left, asked,
reconfigured and cut off in an order the bytes choose, watched by a model.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from fuzz.choices import Choices
from link import ADDRESSES, D1, D2, LINKS, UP, Bench, half

from igmp.access import AccessList, Entry
from igmp.counters import COUNTERS
from igmp.database import restrict
from igmp.filter import NOTHING, Filter, Mode, exclude, include, merge
from igmp.link import Link, Network, is_unicast, parse_address
from igmp.messages import (
    GroupRecord,
    MalformedMessage,
    Query,
    RecordType,
    Report,
    encode_query,
    encode_report,
    encode_v1_report,
    encode_v2_leave,
    encode_v2_report,
)
from igmp.messages import decode as decode_message
from igmp.packet import Rejected, Rules, encode
from igmp.packet import receive as receive_packet
from igmp.parameters import Parameters, PortOptions
from igmp.proxy import Proxy
from igmp.validation import is_trackable


def decode(data: bytes) -> None:
    """Any bytes decode or are malformed; what decodes encodes to something that decodes to the same."""
    try:
        message = decode_message(data)
    except MalformedMessage as malformed:
        _known([malformed.counter])
        return
    if isinstance(message, Query):
        if message.version == 3 and message.interval:
            assert decode_message(encode_query(message)) == message
    elif message.version == 3:
        _known(message.defects)
        assert decode_message(encode_report(message.records)) == Report(message.records)


def _known(counters: Iterable[str]) -> None:
    assert set(counters) <= set(COUNTERS)


ACCESS = AccessList(deny=(Entry.parse("10.99.0.1,239.1.1.1"), Entry.parse("239.1.1.2")),
                    boundary=(Network.parse("239.1.1.3/32"),))


def receive(data: bytes) -> None:
    """Any packet is rejected with a known counter, or holds only what a core may use."""
    if not data:
        return
    upstream, strict = bool(data[0] & 1), bool(data[0] & 2)
    rules = Rules(strict_sources=strict, require_router_alert=strict, accept_any_ttl=bool(data[0] & 4))
    packet = _repaired(data[1:]) if data[0] & 8 else data[1:]
    try:
        received = receive_packet(packet, LINKS[UP if upstream else D1], upstream, rules, frozenset({1}), ACCESS)
    except Rejected as rejected:
        _known(rejected.counters)
        return
    _known(received.counters)
    message = received.message
    named = [(message.group, message.sources)] if isinstance(message, Query) else [
        (record.group, record.sources) for record in message.records]
    for group, sources in named:
        assert is_trackable(group) or (isinstance(message, Query) and not group)
        assert all(map(is_unicast, sources))
        assert len(set(sources)) == len(sources)
    if isinstance(message, Report) and not upstream:
        for record in message.records:
            assert not ACCESS.bounds(record.group)
            if record.type in (RecordType.MODE_IS_EXCLUDE, RecordType.CHANGE_TO_EXCLUDE):
                assert ACCESS.admits(None, record.group)


def _repaired(data: bytes) -> bytes:
    """An IPv4 packet from h1 with sound checksums, whose message begins as `data` does."""
    message = bytearray(data)
    if len(message) >= 4:
        message[2:4] = bytes(2)
        total = sum(int.from_bytes(message[at : at + 2].ljust(2, b"\0")) for at in range(0, len(message), 2))
        total = total % 0xFFFF or (0xFFFF if total else 0)
        message[2:4] = (0xFFFF - total).to_bytes(2)
    destination = parse_address("224.0.0.22") if message[:1] == b"\x22" else parse_address("224.0.0.1")
    return encode(parse_address("192.168.10.11"), destination, bytes(message))


# The whole proxy

LIMITS = {"max_groups": 5, "max_sources": 4, "max_hosts": 3,
          "parameters": Parameters(specific_query_rate=3.0, specific_query_burst=3)}
GROUPS = [*(ADDRESSES[name] for name in ("G", "G2", "G3", "S")),
          *(parse_address(f"239.9.9.{last}") for last in (1, 2, 3))]
SOURCES = [ADDRESSES[letter] for letter in "abcdef"]
SPEAKERS = {UP: "10.0.0.", D1: "192.168.10.", D2: "192.168.20."}
OTHER_LINKS = {port: (LINKS[port], replace(LINKS[port], mtu=68), Link(),
                      Link((Network.parse(f"{SPEAKERS[port]}100/24"),))) for port in LINKS if port in SPEAKERS}
LISTS = (AccessList(), ACCESS, AccessList(allow=(Entry.parse("10.99.0.0/30,224.0.0.0/4"),)))
PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0, 10.0, 60.0, 130.0, 271.0, 400.0)


class Rig:
    """A proxy with an upstream and two downstream ports, and everything that may be done to it."""

    def __init__(self) -> None:
        self.bench = Bench(ports=())
        self.bench.now = 0.0
        self.bench.proxy = Proxy(half)
        self.links: dict[int, Link] = {}
        self.options: dict[int, PortOptions] = {}
        self.static: dict[int, frozenset[tuple[int | None, int]]] = {}
        self.only_querier = False
        for port in (UP, D1, D2):
            self._add(port, PortOptions("upstream" if port == UP else "downstream", **LIMITS))
        self.operations: list[Callable[[Choices], None]] = [
            self.report, self.report, self.report, self.old_report, self.query, self.raw, self.wait, self.wait,
            self.link, self.configure, self.configure_static, self.merge, self.restore, self.replace,
        ]

    def _add(self, port: int, options: PortOptions) -> None:
        self.bench.proxy.add_port(port, options)
        self.options[port] = options
        self._up(port, LINKS[port])

    def _up(self, port: int, link: Link) -> None:
        self.bench.take(self.bench.proxy.port_up(port, link, self.bench.now))
        self.links[port] = link

    def _source(self, port: int, choices: Choices) -> int:
        last = choices.pick(("", "1", "9", "11", "12", "13", "14", "15", "200"))
        return parse_address(SPEAKERS[port] + last) if last else 0

    def _hear(self, port: int, packet: bytes, choices: Choices) -> None:
        mac = 0x020000000000 + choices.number() % 3
        self.bench.take(self.bench.proxy.receive(port, packet, self.bench.now, mac))

    def report(self, choices: Choices) -> None:
        port = choices.pick((D1, D2, D1, UP))
        source = self._source(port, choices)
        records = [GroupRecord(choices.pick(list(RecordType)), choices.pick(GROUPS), choices.some(SOURCES))
                   for _ in range(choices.number() % 4)]
        self._hear(port, encode(source, parse_address("224.0.0.22"), encode_report(records)), choices)

    def old_report(self, choices: Choices) -> None:
        port, group = choices.pick((D1, D2, UP)), choices.pick(GROUPS)
        encoder = choices.pick((encode_v1_report, encode_v2_report, encode_v2_leave))
        self._hear(port, encode(self._source(port, choices), group, encoder(group)), choices)

    def query(self, choices: Choices) -> None:
        port, version = choices.pick((UP, D1, D2)), choices.pick((3, 3, 2, 1))
        group = choices.pick((0, 0, *GROUPS)) if version > 1 else 0
        sources = choices.some(SOURCES) if group and version == 3 else ()
        query = Query(group, sources, choices.number() / 10, bool(choices.number() & 1), choices.number() % 8,
                      float(choices.number()), version)
        packet = encode(self._source(port, choices), group or parse_address("224.0.0.1"), encode_query(query))
        self._hear(port, packet, choices)

    def raw(self, choices: Choices) -> None:
        port = choices.pick((UP, D1))
        data = choices.rest(choices.number() % 48)
        self._hear(port, choices.pick((_repaired, bytes))(data), choices)

    def wait(self, choices: Choices) -> None:
        self.bench.run(self.bench.now + choices.pick(PAUSES))

    def link(self, choices: Choices) -> None:
        port = choices.pick((D1, D2, UP))
        if choices.number() & 1:
            self.bench.take(self.bench.proxy.port_down(port, self.bench.now))
            self.links.pop(port, None)
        else:
            self._up(port, choices.pick(OTHER_LINKS[port]))

    def configure(self, choices: Choices) -> None:
        port = choices.pick((D1, D2, UP))
        options = replace(
            self.options[port], access=choices.pick(LISTS), quick_leave=bool(choices.number() & 1),
            quick_leave_untracked=choices.number() % 4 == 3, igmp_version=choices.pick((None, 3, 2, 1)),
            querier=choices.number() % 4 != 3, parameters=choices.pick((Parameters(), Parameters(3, 60.0))))
        self.bench.take(self.bench.proxy.set_options(port, options, self.bench.now))
        self.options[port] = options

    def configure_static(self, choices: Choices) -> None:
        port = choices.pick((D1, D2, UP))
        wanted = frozenset((choices.pick((None, *SOURCES[:3])), group) for group in choices.some(GROUPS))
        self.bench.take(self.bench.proxy.set_static(port, wanted, self.bench.now))
        self.static[port] = wanted

    def merge(self, choices: Choices) -> None:
        self.only_querier = bool(choices.number() & 1)
        self.bench.take(self.bench.proxy.set_merge_only_querier(self.only_querier, self.bench.now))

    def restore(self, choices: Choices) -> None:
        """As after a restart: the routes are there already, and the group is not. Much may come before it is back."""
        group, proxy = choices.pick(GROUPS), self.bench.proxy
        known = {each.group for each in proxy.groups(self.bench.now)} | {each.group for each in proxy.routes()}
        rows = [(group, source, choices.number() % 16) for source in (None, *choices.some(SOURCES[:3]))]
        if group in known or any(proxy.group_count(port) >= LIMITS["max_groups"] for port in (D1, D2)):
            return
        self.bench.inherit(*rows)
        for _ in range(choices.number() % 3):
            choices.pick((self.report, self.old_report, self.query, self.link, self.configure_static))(choices)

    def replace(self, choices: Choices) -> None:
        port = choices.pick((UP, D1, D2))
        self.bench.take(self.bench.proxy.remove_port(port, self.bench.now))
        self.links.pop(port, None)
        self.static.pop(port, None)
        self._add(port, PortOptions("upstream" if port == UP else "downstream", **LIMITS))

    # The model

    def check(self) -> None:
        """Nothing is beyond the limits, and everybody is told what is wanted."""
        bench, proxy = self.bench, self.bench.proxy
        assert proxy.deadline >= bench.now
        assert {(row.group, row.source): row.ports for row in proxy.routes()} == bench.routes
        filters = self._filters()
        self._check_limits()
        self._check_routes(filters)
        self._check_upstream(filters)

    def _filters(self) -> dict[int, dict[int, Filter]]:
        """What is wanted by group and downstream port."""
        filters: dict[int, dict[int, Filter]] = {}
        for each in self.bench.proxy.groups(self.bench.now):
            listed = (source for source, _ in each.sources)
            if each.port != UP:
                state = include(listed) if each.mode is Mode.INCLUDE else exclude(each.excluded_sources)
                if each.static and each.last_reporter == 0 and each.expires is None:
                    state = restrict(state, each.group, self.options[each.port].access)
                filters.setdefault(each.group, {})[each.port] = state
        return filters

    def _check_limits(self) -> None:
        proxy, now = self.bench.proxy, self.bench.now
        for port in (D1, D2):
            learned = [each for each in proxy.groups(now) if each.port == port and not each.static]
            assert len(learned) <= LIMITS["max_groups"]
        for each in proxy.groups(now):
            if not each.static:
                assert len(each.sources) + len(each.excluded_sources) <= LIMITS["max_sources"]
                assert each.sources or each.mode is Mode.EXCLUDE
        hosts: dict[tuple[int, int], int] = {}
        for each in proxy.hosts(now):
            hosts[each.port, each.group] = hosts.get((each.port, each.group), 0) + 1
            assert each.expires > 0
        assert max(hosts.values(), default=0) <= LIMITS["max_hosts"]

    def _check_routes(self, filters: dict[int, dict[int, Filter]]) -> None:
        if self.static or any(not options.access.is_open for options in self.options.values()):
            return                          # what lists leave of static memberships is not shown
        for group in GROUPS:
            for source in SOURCES:
                wanted = sum(1 << port for port, state in filters.get(group, {}).items() if state.admits(source))
                rows = self.bench.routes
                assert rows.get((group, source), rows.get((group, None), 0)) == wanted

    def _check_upstream(self, filters: dict[int, dict[int, Filter]]) -> None:
        if UP not in self.links or self.static or not self.options[UP].access.is_open:
            return
        proxy = self.bench.proxy
        told = {each.group: Filter(each.mode, frozenset(each.sources)) for each in proxy.upstream(self.bench.now)}
        for group in {*told, *filters}:
            states = [state for port, state in filters.get(group, {}).items()
                      if not self.only_querier or proxy.querier(port).querier]
            assert told.get(group, NOTHING) == merge(states)

    def end(self) -> None:
        """Left alone, everything that is not configured ends, and only queries remain to be sent."""
        self.bench.run(self.bench.now + 10000.0)
        for port in (D1, D2, UP):
            self.bench.take(self.bench.proxy.set_static(port, frozenset(), self.bench.now))
        proxy = self.bench.proxy
        assert self.bench.routes == {}
        assert proxy.groups(self.bench.now) == proxy.hosts(self.bench.now) == proxy.upstream(self.bench.now) == []
        proxy.shutdown(self.bench.now)
        assert proxy.deadline == math.inf


def operations(data: bytes) -> None:
    """Whatever is done to a proxy, it stays within its limits and says what is wanted."""
    rig, choices = Rig(), Choices(data[:512])
    while choices:
        choices.pick(rig.operations)(choices)
        rig.bench.run(rig.bench.now)
        rig.check()
    rig.end()


TARGETS = {target.__name__: target for target in (decode, receive, operations)}
