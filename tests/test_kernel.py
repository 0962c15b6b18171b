"""The memberships of the host's own kernel: what is overheard, what is told beside them, when they end."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from link import D1, LINKS, UP, address, filter_text, packet_of, record_of, sources
from test_host import Upstream, reports

from igmp.change import Change, current_state
from igmp.counters import COUNTERS
from igmp.filter import EVERYTHING, NOTHING, Filter, Mode, exclude, include, merge
from igmp.kernel import GRACE, KernelMemberships
from igmp.messages import GroupRecord, Query, RecordType, Report, encode_query, encode_report
from igmp.packet import ALL_ROUTERS, V3_ROUTERS, Link, Rejected, encode, overhear
from igmp.parameters import Parameters, PortOptions
from igmp.proxy import Proxy

OURS = "10.0.0.2"
G = address("G")
ONE = Parameters(robustness=1)
GENERAL, GENERAL_V2 = Query(max_response_time=10.0), Query(max_response_time=10.0, version=2)


class Shared(Upstream):
    """An upstream port beside a kernel that reports there too."""

    def kernel(self, at: float, *told: str) -> "Shared":
        self.until(at)
        for each in told:
            self.take(self.host.overhear(overhear(packet_of(each, OURS), self.link), at))
        return self

    @property
    def held(self) -> str:
        return filter_text(self.host.held.get(G, NOTHING))


def version_2() -> Shared:
    host = Shared(parameters=ONE).hear(0.0, GENERAL_V2)
    host.sent.clear()
    return host


@pytest.mark.parametrize(("ours", "held", "told", "answer"), [
    ("EX{}", "TO_EX(G,{})", "TO_IN(G,{})", "TO_EX({})"),
    ("EX{}", "TO_EX(G,{})", "TO_IN(G,{a})", "TO_EX({})"),
    ("EX{}", "TO_EX(G,{})", "TO_EX(G,{a})", "ALLOW({a})"),
    ("EX{}", "TO_EX(G,{})", "BLOCK(G,{a})", "ALLOW({a})"),
    ("EX{}", "TO_EX(G,{})", "Leave(G)", "TO_EX({})"),
    ("EX{}", "ALLOW(G,{a})", "BLOCK(G,{a})", "TO_EX({})"),
    ("IN{a}", "ALLOW(G,{a,b})", "BLOCK(G,{a,b})", "ALLOW({a})"),
    ("IN{a}", "ALLOW(G,{a,b})", "TO_IN(G,{b})", "ALLOW({a})"),
    ("IN{a}", "ALLOW(G,{b})", "TO_EX(G,{a,b})", "ALLOW({a})"),
    ("IN{a}", "TO_EX(G,{})", "TO_IN(G,{})", "ALLOW({a})"),
    ("EX{}", "ALLOW(G,{a})", "ALLOW(G,{b})", ""),               # takes nothing
    ("IN{a}", "ALLOW(G,{a,b})", "BLOCK(G,{b})", ""),
    ("IN{a}", "TO_EX(G,{})", "TO_IN(G,{a,b})", ""),
    ("EX{}", "TO_EX(G,{})", "TO_EX(G,{})", ""),
    ("IN{}", "TO_EX(G,{})", "TO_IN(G,{})", ""),
])
def test_what_the_kernel_takes_from_what_we_want_is_told_again_at_once(ours, held, told, answer):
    host = Shared(parameters=ONE).has(G=ours).kernel(0.0, held)
    host.sent.clear()
    assert host.kernel(1.0, told).run(100.0).sent == (reports(f"1: {answer}") if answer else [])


def test_what_is_told_again_is_repeated_as_any_change():
    host = Shared().has(G="EX{}").kernel(0.0, "TO_EX(G,{})", "TO_IN(G,{})")
    assert host.run(100.0).sent == reports("0: TO_EX({}); 0.5: TO_EX({})")


@pytest.mark.parametrize(("ours", "held", "wanted", "told"), [
    ("EX{}", "TO_EX(G,{})", "IN{}", ""),
    ("EX{}", "ALLOW(G,{a})", "IN{}", "TO_IN({a})"),
    ("EX{}", "TO_EX(G,{a})", "IN{}", "BLOCK({a})"),
    ("EX{}", "TO_EX(G,{a})", "IN{a}", ""),
    ("IN{a,b}", "ALLOW(G,{a})", "IN{}", "BLOCK({b})"),
    ("IN{a}", "TO_EX(G,{})", "IN{}", ""),
    ("IN{a}", "ALLOW(G,{b})", "IN{}", "BLOCK({a})"),
    ("IN{}", "TO_EX(G,{})", "EX{}", "TO_EX({})"),               # it may have gone unheard: joins are told
    ("IN{}", "ALLOW(G,{a})", "EX{}", "TO_EX({})"),
])
def test_nothing_is_left_that_the_kernel_holds(ours, held, wanted, told):
    host = Shared(parameters=ONE).kernel(0.0, held).has(G=ours)
    assert host.want(1.0, wanted).run(100.0).sent == (reports(f"1: {told}") if told else [])


def test_a_version_2_leave_of_the_kernel_is_followed_by_our_report():
    host = version_2().want(1.0, "EX{}").kernel(2.0, "v2 Report(G)", "Leave(G)")
    assert host.sent == [(1.0, "v2 Report(G)"), (2.0, "v2 Report(G)")]


def test_a_version_2_leave_of_ours_waits_for_that_of_the_kernel():
    host = version_2().kernel(1.0, "v2 Report(G)").want(2.0, "EX{}").want(3.0, "IN{}")
    assert host.kernel(4.0, "Leave(G)").run(100.0).sent == [(2.0, "v2 Report(G)")]
    assert host.want(101.0, "EX{}").want(102.0, "IN{}").sent[1:] == [(101.0, "v2 Report(G)"), (102.0, "Leave(G)")]


def test_a_version_2_report_of_the_kernel_is_enough_for_both():
    host = version_2().want(1.0, "EX{}").hear(2.0, GENERAL_V2).kernel(3.0, "v2 Report(G)")
    assert host.run(100.0).sent == [(1.0, "v2 Report(G)")]


@pytest.mark.parametrize(("version", "left"), [(3, []), (2, [])])
def test_at_the_end_what_the_kernel_holds_is_not_left(version, left):
    host = Shared(parameters=ONE) if version == 3 else version_2()
    host.has(G="EX{}", G2="EX{}").kernel(1.0, "TO_EX(G,{})")
    host.sent.clear()
    assert host.take(host.host.leave()).sent == [(1.0, "TO_IN(G2,{})" if version == 3 else "Leave(G2)")]


def test_answers_tell_what_both_want():
    host = Shared().has(G="IN{a}").kernel(0.0, "ALLOW(G,{b})").hear(1.0, GENERAL)
    assert host.until(9.0).sent == [(6.0, "IS_IN(G,{a,b})")]


def test_an_answer_of_the_kernel_that_is_less_than_both_want_is_completed():
    host = Shared().has(G="EX{}").kernel(0.0, "ALLOW(G,{b})").hear(1.0, GENERAL).kernel(2.0, "IS_IN(G,{b})")
    assert host.until(9.0).sent == [(2.0, "IS_EX(G,{})"), (6.0, "IS_EX(G,{})")]


@pytest.mark.parametrize("robustness", [1, 2, 3])
def test_what_the_kernel_does_not_answer_is_held_no_more(robustness):
    host = Shared(parameters=Parameters(robustness=robustness)).kernel(0.0, "TO_EX(G,{})")
    for number in range(robustness):
        at = 100.0 * (1 + number)
        host.hear(at, Query(max_response_time=10.0, robustness=robustness))
        assert host.until(at + 10.0).held == "EX{}"
    assert host.until(at + 10.0 + GRACE + 0.1).held == "IN{}"


def test_an_answer_before_the_end_of_its_time_keeps_it_and_the_silence_before_is_forgotten():
    host = Shared().kernel(0.0, "TO_EX(G,{})")
    for at in (100.0, 300.0, 500.0):
        host.hear(at, GENERAL).hear(at + 100.0, GENERAL).kernel(at + 109.0, "IS_EX(G,{})")
    assert host.until(1000.0).held == "EX{}"


def test_a_flood_of_queries_does_not_put_the_end_off():
    host = Shared(parameters=ONE).kernel(0.0, "TO_EX(G,{})")
    for number in range(30):
        host.hear(100.0 + number / 2, Query(max_response_time=10.0, robustness=1))
    assert host.held == "IN{}"


def test_in_version_2_others_answer_for_the_kernel():
    host = Shared(parameters=ONE).hear(0.0, GENERAL_V2).kernel(50.0, "v2 Report(G)").hear(100.0, GENERAL_V2)
    host.hear(105.0, packet_of("v2 Report(G)", "10.0.0.9"))
    assert host.until(150.0).held == "EX{}"
    assert host.hear(200.0, GENERAL_V2).until(250.0).held == "IN{}"


def test_an_answer_about_some_sources_takes_nothing_away():
    asked = Query(G, tuple(sources("a,b")), 1.0)
    host = Shared().kernel(0.0, "TO_EX(G,{})").hear(1.0, asked).kernel(1.5, "IS_IN(G,{a})")
    assert host.held == "EX{}"
    assert host.kernel(10.0, "IS_IN(G,{a})").held == "IN{a}"


def test_the_link_takes_it_along():
    host = Shared().kernel(0.0, "TO_EX(G,{})")
    host.host.stop()
    assert host.held == "IN{}"


def test_what_the_kernel_says_when_asked_is_all_it_holds():
    host = Shared(parameters=ONE).kernel(0.0, "TO_EX(G,{})", "ALLOW(G2,{a})")
    host.host.learn_held({address("G2"): EVERYTHING, address("G3"): EVERYTHING}, 1.0)
    held = {address("G2"): include(sources("a")), address("G3"): EVERYTHING}
    assert host.host.held == held                   # how it filters G2 was reported, of G3 it is a guess
    assert host.kernel(2.0, "IS_IN(G3,{b})").host.held[address("G3")] == include(sources("b"))


@pytest.mark.parametrize("told", ["TO_EX(S,{})", "v2 Report(S)"])
def test_what_routers_ignore_in_groups_joined_by_source_is_not_counted_on(told):
    host = Shared(parameters=ONE).kernel(0.0, told).has(S="IN{a}")
    assert host.host.held == {}
    assert host.want(1.0, "IN{}", "S").sent == [(1.0, "BLOCK(S,{a})")]


def test_no_more_groups_are_kept_than_may_be_and_the_others_are_counted():
    counters = dict.fromkeys(COUNTERS, 0)
    kernel = KernelMemberships(PortOptions("upstream", max_groups=100), counters)
    for number in range(10_000):
        kernel.hear(GroupRecord(RecordType.CHANGE_TO_EXCLUDE, G + number), 3, 0.0)
    assert (len(kernel.filters), counters["host_limit"]) == (100, 9_900)
    kernel.learn({G + number: EVERYTHING for number in range(10_000)}, 1.0)
    assert (len(kernel.filters), counters["host_limit"]) == (100, 9_900)
    for number in range(10_000):
        kernel.hear(GroupRecord(RecordType.CHANGE_TO_INCLUDE, G + number), 3, 0.0)
    assert kernel.filters == {}


def test_more_sources_than_may_be_are_remembered_as_any():
    counters = dict.fromkeys(COUNTERS, 0)
    kernel = KernelMemberships(PortOptions("upstream", max_sources=3), counters)
    for number in range(4):
        kernel.hear(GroupRecord(RecordType.ALLOW_NEW_SOURCES, G, (address("a") + number,)), 3, 0.0)
        kernel.hear(GroupRecord(RecordType.ALLOW_NEW_SOURCES, address("S"), (address("a") + number,)), 3, 0.0)
    assert kernel.filters == {G: EVERYTHING, address("S"): include(range(address("a"), address("a") + 3))}
    assert counters["host_limit"] == 2


@pytest.mark.parametrize("packet", [
    b"", b"\x45" + bytes(30),
    packet_of("TO_EX(G,{})", OURS)[:-1],
    packet_of("TO_EX(G,{})", "10.0.0.9"),           # a container behind us
    packet_of("v2 Report(G)", "192.168.10.1"),      # another link of ours
    encode(address(OURS), G, encode_query(Query(G))),
])
def test_outgoing_packets_that_are_no_reports_of_the_kernel_are_counted_and_ignored(packet):
    proxy = Proxy(lambda: 0.5)
    proxy.add_port(UP, PortOptions("upstream"))
    proxy.port_up(UP, LINKS[UP], 0.0)
    assert proxy.overhear(UP, packet, 1.0) == []
    assert (proxy.counters(UP)["host_ignored"], proxy.counters(UP)["host_report"], proxy.held_count(UP)) == (1, 0, 0)


def test_only_an_upstream_that_is_up_has_a_kernel_beside_it():
    proxy = Proxy(lambda: 0.5)
    proxy.add_port(UP, PortOptions("upstream"))
    proxy.add_port(D1, PortOptions("downstream"))
    proxy.port_up(D1, LINKS[D1], 0.0)
    for port in (UP, D1):
        assert proxy.overhear(port, packet_of("TO_EX(G,{})", OURS), 1.0) == []
        proxy.learn_held(port, {G: EVERYTHING}, 1.0)
    assert (proxy.held_count(UP), proxy.held_count(D1)) == (0, 0)
    proxy.port_up(UP, LINKS[UP], 2.0)
    proxy.overhear(UP, packet_of("TO_EX(G,{})", OURS), 3.0)
    assert (proxy.held_count(UP), proxy.counters(UP)["host_report"]) == (1, 1)


def test_before_the_time_to_answer_is_over_nothing_ends():
    kernel = KernelMemberships(PortOptions("upstream"), dict.fromkeys(COUNTERS, 0))
    kernel.hear(GroupRecord(RecordType.CHANGE_TO_EXCLUDE, G), 3, 0.0)
    kernel.ask(Query(), 10.0)
    for now in (10.0, kernel.deadline - 0.1):
        kernel.expire(now, 1)
        assert kernel.filters == {G: EVERYTHING}
    kernel.expire(kernel.deadline, 1)
    assert kernel.filters == {}


@pytest.mark.parametrize(("mac", "heard"), [(2, True), (0, True), (3, False)])
@pytest.mark.parametrize("source", [OURS, "0.0.0.0"])
def test_what_leaves_from_another_ethernet_address_is_somebody_else(mac, heard, source):
    proxy = Proxy(lambda: 0.5)
    proxy.add_port(UP, PortOptions("upstream"))
    proxy.port_up(UP, replace(LINKS[UP], mac=2), 0.0)
    proxy.overhear(UP, packet_of("TO_EX(G,{})", source), 1.0, mac)
    counters = proxy.counters(UP)
    assert (counters["host_report"], counters["host_ignored"], proxy.held_count(UP)) == (heard, not heard, heard)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_report_or_rejected(packet: bytes):
    with suppress(Rejected):
        assert isinstance(overhear(packet, Link()), Report)


def test_reports_without_an_address_and_of_link_local_groups():
    report = overhear(packet_of("TO_EX(G,{})", "0.0.0.0"), LINKS[UP])
    assert report.records == (record_of("TO_EX(G,{})"),)
    link_local = encode_report([GroupRecord(RecordType.CHANGE_TO_EXCLUDE, address("224.0.0.251")), *report.records])
    assert overhear(encode(address(OURS), V3_ROUTERS, link_local), LINKS[UP]) == Report(report.records)
    assert overhear(packet_of("Leave(G)", OURS), LINKS[UP]).leave
    assert int.from_bytes(packet_of("Leave(G)", OURS)[16:20]) == ALL_ROUTERS


class Router:
    """One that knows its hosts by their addresses and leaves at once: it takes the two of us for one, word for word."""

    def __init__(self) -> None:
        self.state = NOTHING

    def hear(self, record: GroupRecord) -> None:
        listed, state = frozenset(record.sources), self.state
        match record.type:
            case RecordType.ALLOW_NEW_SOURCES:
                self.state = merge([state, include(listed)])
            case RecordType.BLOCK_OLD_SOURCES if state.mode is Mode.EXCLUDE:
                self.state = exclude(state.sources | listed)
            case RecordType.BLOCK_OLD_SOURCES:
                self.state = include(state.sources - listed)
            case RecordType.MODE_IS_EXCLUDE | RecordType.CHANGE_TO_EXCLUDE:
                self.state = exclude(listed)
            case _:
                self.state = include(listed)


filters = st.builds(Filter, st.sampled_from(Mode), st.frozensets(st.sampled_from(sorted(sources("a,b,c")))))
steps = st.tuples(st.sampled_from(["ours", "kernel", "answer"]), filters, st.floats(0.2, 3.0))


@given(st.lists(steps, max_size=12))
def test_a_router_that_takes_both_for_one_host_always_knows_what_both_want(taken):
    """The kernel tells its changes and answers by the rules of `change`, which are the standard's; so do we."""
    host, router, ours, kernels, now = Shared(), Router(), NOTHING, NOTHING, 0.0

    def settle() -> None:
        for _, text in host.sent:
            for record in text.split(" + "):
                router.hear(record_of(record))
        host.sent.clear()

    for who, wanted, pause in taken:
        if who == "ours":
            ours = wanted
            host.take(host.host.change({G: wanted}, now))
        else:
            change = Change()
            change.note(kernels, wanted, 1)
            records = change.records(G, wanted) if change else []
            kernels = wanted
            if who == "answer" and (answer := current_state(G, wanted, frozenset())):
                records.append(answer)
            for record in records:
                router.hear(record)
                host.take(host.host.overhear(Report((record,)), now))
        settle()
        host.until(now + 0.15)
        settle()
        assert router.state == merge([ours, kernels])
        now += pause
        host.until(now)
        settle()
        assert router.state == merge([ours, kernels])


def test_two_forwarders_on_one_host_do_not_keep_what_nobody_wants():
    """Each takes the other for the kernel, and tells what both want; what the kernel itself says ends that."""
    first, second = Shared().has(G="IN{a}"), Shared().has(G="IN{b}")

    def talk(now: float) -> list[str]:
        said = []
        for _ in range(4):
            for here, there in ((first, second), (second, first)):
                told, here.sent[:] = [text for _, text in here.run(now).sent], []
                said += told
                there.kernel(now, *told)
        return said

    for host in (first, second):
        host.hear(0.0, GENERAL)
    assert "IS_IN(G,{a,b})" in talk(10.0)
    first.want(11.0, "IN{c}")
    talk(20.0)
    for host in (first, second):
        host.take(host.host.learn_held({}, 30.0))
    for host in (first, second):
        host.hear(31.0, GENERAL)
    said = talk(45.0)
    assert "BLOCK(G,{a,b})" in said                     # by the first, which had left a to the second
    assert {"ALLOW(G,{b})", "IS_IN(G,{b})", "IS_IN(G,{c})"} < set(said)
    assert all("a" not in text.partition(",")[2] for text in said if not text.startswith("BLOCK"))
    talk(60.0)
    assert talk(100.0) == []


@pytest.mark.parametrize(("version", "ours", "left", "leave"), [
    (3, "EX{}", "IN{}", "TO_IN(G,{})"), (2, "EX{}", "IN{}", "Leave(G)"), (3, "EX{}", "IN{a}", "TO_IN(G,{a})"),
])
def test_what_was_left_to_who_is_not_the_kernel_is_left_when_that_is_known(version, ours, left, leave):
    """Another forwarder of this host was heard, which may have left the group to us."""
    host = Shared(parameters=ONE) if version == 3 else version_2()
    host.want(1.0, ours).kernel(2.0, "TO_EX(G,{})" if version == 3 else "v2 Report(G)").sent.clear()
    assert (host.host.doubtful, host.want(3.0, left).host.doubtful, host.sent) == (False, True, [])
    assert host.until(4.0).take(host.host.learn_held({}, 4.0)).sent == [(4.0, leave)]
    assert not host.host.doubtful


def test_what_was_left_to_the_kernel_is_not_left_when_it_is_asked():
    host = Shared(parameters=ONE).want(1.0, "EX{}").kernel(2.0, "TO_EX(G,{})").want(3.0, "IN{}")
    host.sent.clear()
    host.take(host.host.learn_held({G: EVERYTHING}, 4.0)).want(5.0, "EX{}").sent.clear()
    assert host.host.learn_held({}, 6.0) == []


def test_what_another_forwarder_holds_and_we_never_wanted_is_not_left():
    host = Shared(parameters=ONE).kernel(2.0, "TO_EX(G,{})")
    assert (host.host.doubtful, host.host.learn_held({}, 4.0)) == (False, [])


@pytest.mark.parametrize("ended", ["TO_IN(G,{})", "Leave(G)"])
def test_what_was_left_to_another_who_leaves_it_too_is_not_left_again(ended):
    host = Shared(parameters=ONE).want(1.0, "EX{}").kernel(2.0, "TO_EX(G,{})").want(3.0, "IN{}").kernel(4.0, ended)
    assert (host.host.doubtful, host.host.learn_held({}, 5.0)) == (False, [])


class TwoForwarders:
    """Of one host, which hear each other as each would its kernel, and a router that takes them for one."""

    def __init__(self) -> None:
        self.hosts, self.router, self.wants, self.now = (Shared(), Shared()), Router(), [NOTHING, NOTHING], 0.0

    def take(self, which: int, said) -> None:
        """One has said something, the other answers, and so on; that ends."""
        self.hosts[which].take(said)
        for turn in range(20):
            here, there = self.hosts[(which + turn) % 2], self.hosts[(which + turn + 1) % 2]
            records = [record_of(each) for _, text in here.sent for each in text.split(" + ")]
            here.sent.clear()
            if not records:
                break
            for record in records:
                self.router.hear(record)
                there.take(there.host.overhear(Report((record,)), self.now))
        assert not self.hosts[0].sent + self.hosts[1].sent

    def until(self, now: float) -> None:
        while (due := min(host.host.deadline for host in self.hosts)) <= now:
            self._at(max(self.now, due))
            for which, host in enumerate(self.hosts):
                self.take(which, host.host.expire(self.now))
        self._at(now)
        assert merge([*self.wants, self.router.state]) == self.router.state

    def _at(self, now: float) -> None:
        self.now = self.hosts[0].now = self.hosts[1].now = now


@given(st.lists(st.tuples(st.sampled_from(["want", "confirm", "query"]), st.integers(0, 1), filters,
                          st.floats(0.1, 3.0)), max_size=10))
@example([("want", 0, exclude(sources("a")), 1.0), ("want", 1, include(sources("b")), 0.25),
          ("want", 0, include(sources("a")), 1.0), ("want", 0, exclude(sources("a")), 1.0)])
def test_two_forwarders_on_one_host_never_cut_each_other_off_and_agree_in_the_end(steps):
    """On the way their router may know of more than they want, never of less."""
    both = TwoForwarders()
    for what, which, wanted, pause in steps:
        host = both.hosts[which].host
        if what == "want":
            both.wants[which] = wanted
            both.take(which, host.change({G: wanted}, both.now))
        elif what == "confirm":
            both.take(which, host.learn_held({}, both.now))
        else:
            for each in (0, 1):
                query = Query(max_response_time=1.0 + each)
                both.take(each, both.hosts[each].host.receive(query, both.now, 1))
        both.until(both.now + pause)
    both.until(both.now + 10.0)
    for which in (0, 1, 0, 1):
        both.take(which, both.hosts[which].host.learn_held({}, both.now))
        both.until(both.now + 5.0)
    if all(what == "want" for what, *_ in steps):       # else answers that cross may leave a source too many
        assert both.router.state == merge(both.wants)
