"""The agent as it runs, over wires and segments of the test's: what goes out, is written and told, and its end."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from forwarder.agent.agent import EVENTS, PORTION, Agent, luck
from forwarder.process import control
from forwarder.process.child import Start
from forwarder.process.lending import loan
from forwarder.state.membership import MembershipReader, MembershipWriter, PortMembership
from forwarder.state.ports import Added, Configuration, Port
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import RouteKey
from forwarder.state.settings import DataplaneSettings, IgmpSettings, InterfaceSettings, RouteSettings, Settings
from forwarder.state.snapshot import SnapshotWriter
from forwarder.supervisor.children import Process
from forwarder.supervisor.shared import AGENT, Shared
from igmp.link import parse_address
from igmp.messages import GroupRecord, Query, RecordType, Report, decode, encode_query, encode_report, encode_v2_report
from igmp.packet import encode

SIZES = DataplaneSettings(workers=2, max_ports=4 * PORTION, max_flows=64, max_routes=256)
G, ROUTERS = parse_address("239.1.1.1"), parse_address("224.0.0.22")
UP, TAPS = InterfaceSettings(name="eth0", role="upstream"), InterfaceSettings(name="tap*")
SETTINGS = Settings(interface=(UP, TAPS), dataplane=SIZES, igmp=IgmpSettings(unsolicited_report_interval=0.05))
MAC = 0x0200_0000_0009
ETHERNET = bytes.fromhex("01005e000016") + MAC.to_bytes(6) + b"\x08\x00"     # of a host's reports


def port(index: int, ifindex: int | None = None) -> Port:
    name, settings = (f"tap{index}", TAPS) if index else ("eth0", UP)
    return Port(
        index, 1, name, settings.role, settings, 10 + index if ifindex is None else ifindex, ifindex != 0,
        f"02:00:00:00:01:{index:02x}", addresses=((parse_address(f"10.0.{index}.1"), 24),),
    )  # fmt: skip


PORTS = (port(0), port(1), port(2))


def report(kind: RecordType, *groups: int, sources: tuple[int, ...] = (), host: str = "10.0.1.9") -> bytes:
    records = [GroupRecord(kind, group, sources) for group in groups]
    return encode(parse_address(host), ROUTERS, encode_report(records))


def join(*groups: int) -> bytes:
    return report(RecordType.CHANGE_TO_EXCLUDE, *groups)


def leave(*groups: int) -> bytes:
    return report(RecordType.CHANGE_TO_INCLUDE, *groups)


def packets() -> tuple[socket.socket, socket.socket]:
    """A wire that tells when its other end is gone."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def datagrams() -> tuple[socket.socket, socket.socket]:
    """A wire of which the kernel counts what waits at the end that listens, as it does of a packet socket."""
    ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for end in ends:
        end.bind(("127.0.0.1", 0))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    for near, far in (ends, ends[::-1]):
        near.connect(far.getsockname())
    return ends[0], ends[1]


class Life:
    """An agent and what stands around it; the segments outlive it."""

    def __init__(
        self, settings: Settings = SETTINGS, ports: tuple[Port, ...] = PORTS, shared: Shared | None = None,
        wire: Callable[[], tuple[socket.socket, socket.socket]] = packets,
    ) -> None:
        self.shared, self.ports, self.wire = shared or Shared(settings.dataplane), ports, wire
        self._configuration = SnapshotWriter(self.shared.configuration)
        self._membership, self.routes = MembershipReader(self.shared.membership), RouteReader(self.shared.routes)
        self.wires: dict[int, socket.socket] = {}
        self.publish(settings, ports)
        self.looks = 0

    def clock(self) -> float:
        self.looks += 1
        return time.monotonic()

    def publish(
        self, settings: Settings, ports: tuple[Port, ...], added: Added | None = None, unheard: bool = False
    ) -> None:
        """`unheard`: the bell has not rung yet."""
        generation = self._configuration.sequence + 1
        self._configuration.publish(Configuration(generation, settings, ports, added or Added()).to_json())
        if not unheard:
            self.shared.ring()

    def begin(self) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.setblocking(False)
        descriptors = {name: os.dup(descriptor) for name, descriptor in self.shared.for_agent().items()}
        self.running = asyncio.ensure_future(Agent(Start(theirs, {}, descriptors), self.clock).run())

    def lend(self, *ports: Port) -> None:
        for each in ports:
            # Upstream frames are sent to an address of a packet socket, which those of UDP do not take.
            near, self.wires[each.index] = self.wire() if each.role == "downstream" else packets()
            self.wires[each.index].setblocking(False)
            with near:
                control.send(self.channel, *loan(each.key, 1, {"igmp": near.fileno()}))

    async def ready(self) -> None:
        """It has been told of all ports."""
        control.send(self.channel, {"type": "ports_sent"})
        said = json.loads(await self._read(self.channel))
        assert said == {"type": "ready", "descriptors": []}
        for bell in self.shared.wake.values():
            ringing(bell)

    async def _read(self, wire: socket.socket) -> bytes:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(wire, 65536), 10.0)

    async def hear(self, index: int, kind: type = Report) -> Any:
        """The next message of a kind that leaves by a port."""
        while True:
            frame = await self._read(self.wires[index])
            if not frame:
                raise ConnectionResetError
            assert frame[6:14] == bytes.fromhex(f"0200000001{index:02x} 0800")
            if isinstance(message := decode(frame[14 + 4 * (frame[14] & 15) :]), kind):
                return message

    def say(self, index: int, *packets: bytes) -> None:
        for packet in packets:
            self.wires[index].send(ETHERNET + packet)

    def rows(self) -> dict[RouteKey, tuple[int, str]]:
        return {row.key: (row.ports, row.kind) for row in self.routes.rows()}

    def port(self, index: int) -> PortMembership:
        return self._membership.port(index)

    @property
    def heartbeat(self) -> float:
        return self._membership.heartbeat

    async def until(self, condition: Callable[[], Any]) -> None:
        """Lets the agent live until something holds."""
        end = time.monotonic() + 10.0
        while not condition():
            assert time.monotonic() < end
            await asyncio.sleep(0.002)

    async def asked(self, noun: str) -> Any:
        """What it answers the API."""
        api = self.shared.for_api(0)["agent"]
        with socket.socket(fileno=os.dup(api)) as asking:
            asking.setblocking(False)
            asking.send(json.dumps({"id": 1, "noun": noun}).encode())
            return json.loads(await self._read(asking))["rows"]


def ringing(bell: int) -> int:
    try:
        return os.eventfd_read(bell)
    except BlockingIOError:
        return 0


def live(life: Life, use: Callable[[Life], Awaitable[None]]) -> None:
    """`use` while an agent lives that has its ports."""

    async def together() -> None:
        life.begin()
        life.lend(*life.ports)
        await life.ready()
        await use(life)

    uvloop.run(together())


def test_a_join_goes_upstream_and_to_the_workers(caplog):
    async def use(life: Life) -> None:
        assert (await life.hear(1, Query)).group == 0
        assert (await life.hear(2, Query)).group == 0
        life.say(1, join(G))
        [record] = (await life.hear(0)).records
        assert (record.type, record.group, record.sources) == (RecordType.CHANGE_TO_EXCLUDE, G, ())
        assert life.rows() == {RouteKey(G): (0b010, "learned")}
        assert [ringing(life.shared.wake[f"mcfwd-worker-{number}"]) for number in range(2)] == [1, 1]
        assert (life.port(1).querier, life.port(1).querier_address) == (True, parse_address("10.0.1.1"))
        await life.until(lambda: life.port(1).counters["report_v3"] == 1)
        assert (life.port(1).groups, life.port(1).igmp_version, life.port(0).igmp_version) == (1, 3, 3)
        life.say(2, report(RecordType.CHANGE_TO_EXCLUDE, G, host="10.0.2.9"))
        await life.until(lambda: life.port(2).counters["report_v3"] == 1)
        assert life.rows() == {RouteKey(G): (0b110, "learned")}
        life.say(1, b"nonsense")
        await life.until(lambda: life.port(1).counters["rx_bad_ip"] == 1)
        assert caplog.messages == []

    live(Life(), use)


def test_what_it_knows_is_told_when_it_is_asked():
    async def use(life: Life) -> None:
        life.say(1, join(G, G + 1))
        await life.hear(0)
        groups, hosts, upstream = [await life.asked(noun) for noun in ("groups", "hosts", "upstream")]
        assert [(row["port"], row["group"], row["mode"]) for row in groups] == [(1, at, "exclude") for at in (G, G + 1)]
        assert all(0.0 < row["expires"] <= 270.0 and row["uptime"] >= 0.0 for row in groups)
        assert [(row["port"], row["group"], row["mac"]) for row in hosts] == [(1, at, MAC) for at in (G, G + 1)]
        assert [(row["port"], row["group"], row["version"]) for row in upstream] == [(0, G, 3), (0, G + 1, 3)]

    live(Life(), use)


def test_what_it_refused_is_told_when_it_is_asked():
    async def use(life: Life) -> None:
        off_subnet = report(RecordType.CHANGE_TO_EXCLUDE, G, host="10.9.9.9")
        life.say(1, off_subnet)
        life.say(1, off_subnet)
        await life.until(lambda: life.port(1).counters["rx_bad_source"] == 2)
        [row] = await life.asked("refusals")
        assert (row["port"], row["group"], row["host"], row["mac"]) == (1, G, parse_address("10.9.9.9"), MAC)
        assert (row["reason"], row["rule"], row["count"]) == ("off_subnet", "altnets", 2)
        assert 0.0 <= row["last"] <= row["since"] < 60.0

    live(Life(), use)


async def told_to_stop(life: Life) -> None:
    control.send(life.channel, {"type": "stop"})


async def hung_up(life: Life) -> None:
    life.channel.close()


@pytest.mark.parametrize("end", [told_to_stop, hung_up])
def test_at_its_end_all_groups_are_left_upstream(end):
    async def use(life: Life) -> None:
        life.say(1, join(G))
        await life.hear(0)
        await end(life)
        await asyncio.wait_for(life.running, 10.0)
        records = [record for record in (await life.hear(0)).records if record.type != RecordType.CHANGE_TO_EXCLUDE]
        while not records:      # the join was said again meanwhile
            records = (await life.hear(0)).records
        assert [(record.type, record.group) for record in records] == [(RecordType.CHANGE_TO_INCLUDE, G)]
        assert life.rows() == {RouteKey(G): (0b010, "learned")}

    live(Life(), use)


def test_many_that_leave_at_once_are_gone_in_time_and_nothing_turns_meanwhile():
    """More than is done in one turn: the timer is set again for what is left, and not before it is due."""
    groups = [G + at for at in range(EVENTS + 20)]
    igmp = IgmpSettings(
        last_member_query_interval=0.1, last_member_query_count=1, unsolicited_report_interval=0.05, robustness=1
    )

    async def use(life: Life) -> None:
        life.say(1, join(*groups))
        await life.until(lambda: len(life.rows()) == len(groups))
        life.looks = 0
        life.say(1, leave(*groups))
        asked: set[int] = set()
        while asked != {*groups}:
            asked |= {(await life.hear(1, Query)).group} - {0}
        await life.until(lambda: life.rows() == {})
        assert life.looks < 6000    # a timer may come half a millisecond early; a tenth of a second would be 30,000

    live(Life(replace(SETTINGS, igmp=igmp)), use)


def test_what_waited_when_it_woke_is_heard_before_anything_ends():
    """All leave, it asks, and stands still; meanwhile all answer, and it takes many breaths to hear them."""
    groups = [G + at for at in range(EVENTS + 20)]
    igmp = IgmpSettings(
        last_member_query_interval=0.5, last_member_query_count=1, unsolicited_report_interval=0.05, robustness=1
    )
    padding = [GroupRecord(RecordType.MODE_IS_INCLUDE, G, (1 + at,)) for at in range(80)]   # to be heard, it takes time

    def answer(group: int) -> bytes:
        records = [*padding, GroupRecord(RecordType.MODE_IS_EXCLUDE, group)]
        return encode(parse_address("10.0.1.9"), ROUTERS, encode_report(records))

    async def use(life: Life) -> None:
        life.say(1, join(*groups))
        await life.until(lambda: len(life.rows()) == len(groups))
        life.say(1, leave(*groups))
        asked: set[int] = set()
        while asked != {*groups}:
            asked |= {(await life.hear(1, Query)).group} - {0}
        life.say(1, *map(answer, groups))
        time.sleep(1.0)             # the agent has this thread for its loop: it stands still
        await life.until(lambda: life.port(1).counters["report_v3"] == 2 + len(groups))
        life.say(1, leave(G))       # what is said upstream before this is all that was said
        told = []
        while not told or told[-1] != (RecordType.CHANGE_TO_INCLUDE, G):
            told += [(record.type, record.group) for record in (await life.hear(0)).records]
        assert [each for each in told if each[0] == RecordType.CHANGE_TO_INCLUDE] == [(RecordType.CHANGE_TO_INCLUDE, G)]

    live(Life(replace(SETTINGS, igmp=igmp), wire=datagrams), use)


def test_a_successor_takes_back_what_the_rows_say_and_makes_them_say_what_holds():
    first = Life()

    async def before(life: Life) -> None:
        life.say(1, join(G))
        life.say(2, report(RecordType.CHANGE_TO_EXCLUDE, G + 1, host="10.0.2.9"))
        await life.until(lambda: len(life.rows()) == 2)
        await life.until(lambda: life.port(1).counters["report_v3"] == 1)

    async def after(life: Life) -> None:
        assert life.rows() == {RouteKey(G): (0b010, "learned")}
        assert [(row["port"], row["group"]) for row in await life.asked("groups")] == [(1, G)]
        life.say(1, join(G))
        await life.until(lambda: life.port(1).counters["report_v3"] == 2)   # counted on

    live(first, before)
    live(Life(ports=PORTS[:2], shared=first.shared), after)


def query(host: str, **said: Any) -> bytes:
    return encode(parse_address(host), parse_address("224.0.0.1"), encode_query(Query(**said)))


def test_a_successor_is_no_querier_where_another_was_and_speaks_the_version_that_was_spoken():
    ports = (port(0), replace(port(1), addresses=((parse_address("10.0.1.5"), 24),)), port(2))
    first = Life(ports=ports)

    async def before(life: Life) -> None:
        life.say(0, query("10.0.0.9", version=2))
        await life.until(lambda: life.port(0).igmp_version == 2)
        life.say(1, query("10.0.1.2"))
        await life.until(lambda: life.port(1).querier is False)

    async def after(life: Life) -> None:
        assert (life.port(1).querier, life.port(1).querier_address) == (False, parse_address("10.0.1.2"))
        assert life.port(2).querier
        assert (await life.hear(2, Query)).group == 0
        life.say(1, report(RecordType.CHANGE_TO_EXCLUDE, G))
        assert (await life.hear(0)).version == 2
        with pytest.raises(BlockingIOError):
            life.wires[1].recv(65536)

    live(first, before)
    live(Life(ports=ports, shared=first.shared), after)


def test_a_successor_knows_which_groups_have_older_hosts():
    first, older = Life(), encode(parse_address("10.0.1.9"), G, encode_v2_report(G))

    async def compatibility(life: Life) -> dict[int, int]:
        return {row["group"]: row["compatibility"] for row in await life.asked("groups")}

    async def before(life: Life) -> None:
        life.say(1, older, join(G + 1))
        await life.until(lambda: life.port(1).counters["report_v3"] == 1)
        assert await compatibility(life) == {G: 2, G + 1: 3}

    async def after(life: Life) -> None:
        assert await compatibility(life) == {G: 2, G + 1: 3}

    live(first, before)
    second = Life(shared=first.shared)
    live(second, after)
    live(Life(shared=first.shared), after)
    renamed = (port(0), replace(port(1), name="tap7", assigned=2), port(2))
    live(Life(ports=renamed, shared=first.shared), lambda life: asyncio.sleep(0))
    assert [row for row in MembershipWriter(first.shared.membership).older.adopt() if row] == []


def test_what_the_configuration_says_is_taken_over_while_it_runs():
    route = RouteSettings(group="239.9.0.0/16", interfaces=("tap2",))
    key = RouteKey(parse_address("239.9.0.0"), 16, static=True)

    async def use(life: Life) -> None:
        life.publish(replace(SETTINGS, route=(route,)), PORTS)
        await life.until(life.rows)
        assert life.rows() == {key: (0b100, "static")}
        assert ringing(life.shared.wake["mcfwd-worker-0"]) == 2     # the configuration, and the row
        life.publish(replace(SETTINGS, route=(route,)), (port(0), port(1), replace(port(2), name="tap3")))
        await life.until(lambda: life.rows() == {key: (0, "static")})
        life.publish(SETTINGS, PORTS, Added(groups=(("tap1", "239.1.1.1"),)))
        await life.until(lambda: life.rows() == {RouteKey(G): (0b010, "learned")})
        assert (await life.hear(0)).records[0].group == G
        assert [row["static"] for row in await life.asked("groups")] == [True]
        life.publish(replace(SETTINGS, igmp=replace(SETTINGS.igmp, accept_any_ttl=True)), PORTS)
        far = bytearray(join(G + 1))
        far[8], far[10:12] = 2, (int.from_bytes(far[10:12]) - 0x100).to_bytes(2)    # TTL 2, and its checksum
        life.say(1, bytes(far))
        await life.until(lambda: RouteKey(G + 1) in life.rows())

    live(Life(), use)


def test_a_port_that_comes_later_has_its_turn():
    async def use(life: Life) -> None:
        life.publish(SETTINGS, (*PORTS, port(3)))
        life.lend(port(3))
        assert (await life.hear(3, Query)).group == 0
        life.publish(SETTINGS, (*PORTS, port(3, ifindex=0)))
        with pytest.raises(ConnectionResetError):   # nobody holds the other end any more
            await life.hear(3)

    live(Life(), use)


def test_a_port_is_lent_with_the_configuration_that_names_it_whether_its_bell_was_heard_or_not():
    async def use(life: Life) -> None:
        life.publish(SETTINGS, (*PORTS, port(3)), unheard=True)
        life.lend(port(3))
        assert (await life.hear(3, Query)).group == 0

    live(Life(), use)


def test_what_was_published_before_it_began_is_taken_over_without_a_bell():
    life = Life(replace(SETTINGS, route=(RouteSettings(group="239.9.9.9"),)), ports=())
    assert ringing(life.shared.wake[AGENT]) == 1

    async def use(life: Life) -> None:
        assert [kind for _, kind in life.rows().values()] == ["block"]

    live(life, use)


def test_the_counters_of_all_ports_are_published_however_many():
    ports = (port(0), *(port(index, ifindex=0) for index in range(1, 2 * PORTION + 3)))

    async def use(life: Life) -> None:
        await life.until(lambda: all(life.port(each.index).igmp_version == 3 for each in ports))
        life.wires[0].send(ETHERNET + b"nonsense")
        await life.until(lambda: life.port(0).counters["rx_bad_ip"] == 1)

    async def together(life: Life) -> None:
        life.begin()
        life.lend(port(0))
        await life.ready()
        await use(life)

    life = Life(ports=ports)
    uvloop.run(together(life))
    assert life.looks < 2000    # a look or two at each port, and then rest


def test_what_the_protocol_notices_is_in_the_log(caplog):
    async def use(life: Life) -> None:
        life.say(1, report(RecordType.CHANGE_TO_EXCLUDE, G, host="10.0.1.1"))
        await life.until(lambda: caplog.messages)
        assert caplog.messages == ["tap1: somebody speaks with our own address 10.0.1.1"]

    live(Life(), use)


def test_routes_without_room_are_said_once(caplog):
    async def use(life: Life) -> None:
        life.say(1, join(*(G + at for at in range(70))))
        await life.until(lambda: caplog.messages)
        assert caplog.messages == ["there is no room for 6 routes: raise max_routes"]
        assert len(life.rows()) == 64
        beat = life.heartbeat
        await life.until(lambda: life.heartbeat > beat)
        assert len(caplog.messages) == 1

    sizes = replace(SIZES, max_routes=64)
    live(Life(replace(SETTINGS, dataplane=sizes)), use)


def test_delays_are_drawn_from_all_that_may_be():
    drawn = [luck() for _ in range(1000)]
    assert all(0.0 < each <= 1.0 for each in drawn)
    assert min(drawn) < 0.1
    assert max(drawn) > 0.9


def answers(life: Life) -> list:
    """The rows of an agent that is another process."""
    with socket.socket(fileno=os.dup(life.shared.for_api(0)["agent"])) as asking:
        asking.settimeout(10.0)
        asking.send(json.dumps({"id": 1, "noun": "groups"}).encode())
        return json.loads(asking.recv(65536))["rows"]


def test_the_process_lives_until_it_is_told_to_stop():
    life = Life(ports=())
    started = Process.start("forwarder.agent", os.getpid())
    try:
        started.channel.settimeout(30.0)
        told = {"type": "start", "name": "mcfwd-agent", "log_level": "info"}
        assert control.send(started.channel, told, life.shared.for_agent())
        assert control.receive(started.channel) == ({"type": "here"}, {})
        control.send(started.channel, {"type": "ports_sent"})
        assert control.receive(started.channel) == ({"type": "ready"}, {})
        assert 0.0 < life.heartbeat <= time.monotonic()
        started.popen.send_signal(signal.SIGTERM)   # its successor would join nothing that it leaves
        for _ in range(3):
            assert answers(life) == []
        control.send(started.channel, {"type": "stop"})
        assert started.popen.wait(30.0) == 0
    finally:
        started.kill()
