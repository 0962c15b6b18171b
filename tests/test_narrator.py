"""The protocol's story in the log: which level, about which port, and nothing where nobody wants to know."""

import logging

import pytest
from link import packet_of, query_packet

from forwarder.agent.narrator import LONGEST, Narrator, grown
from forwarder.state.ports import Port
from forwarder.state.settings import InterfaceSettings
from igmp.link import parse_address
from igmp.messages import Query
from igmp.outputs import Notice, Role, Route, Send

PORT = Port(1, 1, "tap1", "downstream", InterfaceSettings(name="tap1"), 7, True)
OURS, THEIRS, HOST = "192.168.10.200", "192.168.10.1", "192.168.10.11"


@pytest.fixture
def story(caplog):
    """What was said since the last call."""
    caplog.set_level(logging.DEBUG, "forwarder.agent.narrator")

    def said() -> list[tuple[str, str]]:
        lines = [(each.levelname, each.getMessage()) for each in caplog.records]
        caplog.clear()
        return lines

    return said


# RFC 4605 3 g
def test_a_role_is_told_when_it_changes_and_not_when_a_port_comes_or_goes(story):
    narrator, us, them = Narrator(), Role(1, True, parse_address(OURS)), Role(1, False, parse_address(THEIRS))
    narrator.role(us, PORT, up=True, forwards=False)
    assert [level for level, _ in story()] == ["DEBUG"]
    narrator.role(them, PORT, up=True, forwards=False)
    assert story() == [("WARNING", f"tap1: {THEIRS} is the querier now; we do not forward there "
                                   "(forward_when_not_querier)")]
    narrator.role(us, PORT, up=True, forwards=False)
    assert story() == [("INFO", f"tap1: we are the querier now, with the address {OURS}; {THEIRS} is silent")]
    narrator.role(Role(1, False, 0), PORT, up=False, forwards=False)
    assert story() == []
    narrator.role(us, PORT, up=True, forwards=False)
    assert [level for level, _ in story()] == ["DEBUG"]
    narrator.role(them, PORT, up=True, forwards=True)
    assert [level for level, _ in story()] == ["INFO"]


@pytest.mark.parametrize(("notice", "level"), [
    (Notice(1, "back", 0, version=3), "INFO"), (Notice(1, "fallback", 1, version=2), "INFO"),
    (Notice(1, "fallback", 1, version=2, count=3), "WARNING"), (Notice(1, "limit_reached", 1), "WARNING"),
])  # fmt: skip
def test_what_is_lost_or_refused_is_a_warning(story, notice, level):
    Narrator().notice(notice, PORT, 3)
    [(said, words)] = story()
    assert said == level
    assert words.startswith("tap1: ")


@pytest.mark.parametrize(("text", "words"), [
    ("TO_EX(G,{})", "report TO_EX 239.1.1.1"),
    ("ALLOW(S,{a,b}) + TO_IN(G,{})", "report ALLOW 232.1.1.1 {10.99.0.1, 10.99.0.2}, TO_IN 239.1.1.1"),
    ("v2 Report(G)", "IGMPv2 report of 239.1.1.1"),
    ("Leave(G)", "leave of 239.1.1.1"),
])  # fmt: skip
def test_joins_and_leaves_are_told_with_their_host_and_why_they_were_refused(story, text, words):
    narrator = Narrator()
    narrator.heard(packet_of(text, HOST), PORT, {})
    narrator.heard(packet_of(text, HOST), PORT, grown({"rx_boundary": 3, "report_v3": 1, "leave": 1},
                                                      {"rx_boundary": 4, "report_v3": 2, "leave": 1}))
    assert story() == [("DEBUG", f"tap1: heard {words} of {HOST}"),
                       ("DEBUG", f"tap1: heard {words} of {HOST} (rx_boundary)")]


def test_anything_may_be_heard(story):
    for packet in (b"", b"\x46", b"\x46" + bytes(40)):
        Narrator().heard(packet, PORT, {"rx_bad_ip": 1})
    assert [words.split(" of ")[0] for _, words in story()] == ["tap1: heard what is no IGMP message"] * 3


def test_what_this_host_itself_reports_is_told(story):
    Narrator().overheard(packet_of("Leave(G)", OURS), PORT)
    assert story() == [("DEBUG", "tap1: this host itself says leave of 239.1.1.1")]


def test_what_is_sent_and_decided_is_told(story):
    narrator = Narrator()
    narrator.sent(Send(1, query_packet(Query(parse_address("239.1.1.1"), (1,)), OURS)), PORT)
    narrator.route(Route(parse_address("239.1.1.1"), None, 0b1010), lambda index: f"tap{index}")
    narrator.route(Route(parse_address("232.1.1.1"), parse_address("10.0.0.1"), (1 << 12) - 1), str)
    narrator.route(Route(parse_address("239.1.1.1"), 1, 0), str)
    narrator.route(Route(parse_address("239.1.1.1"), None, 0, present=False), str)
    assert [words for _, words in story()] == [
        "tap1: send IGMPv3 query for 239.1.1.1 {0.0.0.1}",
        "239.1.1.1 of any source: wanted on tap1, tap3",
        f"232.1.1.1 of 10.0.0.1: wanted on {', '.join(map(str, range(LONGEST)))}, 4 more",
        "239.1.1.1 of 0.0.0.1: wanted nowhere",
        "239.1.1.1 of any source: no route any more",
    ]


def test_nobody_pays_for_what_nobody_wants(caplog):
    caplog.set_level(logging.INFO, "forwarder.agent.narrator")
    assert not Narrator().verbose
