"""`mcfwd doctor`, the core: every kind of finding of the facts that call for it, and nothing of those that do not."""

import shlex
from dataclasses import replace

import pytest

from forwarder.diagnosis.doctor.examination import examine, kinds
from forwarder.diagnosis.doctor.facts import (
    Daemon,
    Doubted,
    ExaminedFlow,
    Facts,
    FilterRule,
    FirewallFacts,
    InstanceFacts,
    InterfaceFacts,
    KernelFacts,
    LimitFacts,
    LocalReceiver,
    LocalSender,
    Offload,
    OtherFacts,
    ProgramFacts,
    SnoopingBridge,
)
from forwarder.diagnosis.doctor.finding import SEVERITIES, status

MIB = 1 << 20
UP, LAN = InterfaceFacts(name="eth0", role="upstream"), InterfaceFacts(name="eth1", role="downstream")
CLEAN = Facts(interfaces=(UP, LAN), known=("eth0", "eth1"))
ON, OFF, FIXED = Offload(True, True), Offload(False, True), Offload(False, False)
BLIND = SnoopingBridge("br0", snooping=True, querier=False, heard=False)
RULE = FilterRule("rule ip filter input handle 4", "ip protocol igmp drop", "nft delete rule ip filter input handle 4")
HOOKED = FilterRule("rule netdev t c handle 2", "drop", "nft delete rule netdev t c handle 2", ("eth0",))
ENSLAVED = "eth1 is a port of the bridge br0, which takes what comes in: name br0 instead"


def with_lan(**facts):
    return replace(CLEAN, interfaces=(UP, replace(LAN, **facts)))


def with_up(**facts):
    return replace(CLEAN, interfaces=(replace(UP, **facts), LAN))


def with_limits(**limits):
    return replace(CLEAN, limits=LimitFacts(**limits))


CASES = {     # kind: (facts that call for it, what its remedy begins with, a word of its words)
    "invalid configuration": (replace(CLEAN, problems=("mcfwd.toml:3: x",)), "correct it", "mcfwd.toml:3"),
    "interfaces not seen": (replace(CLEAN, unseen="Permission denied"), "let what confines", "Permission denied"),
    "instance silent": (replace(CLEAN, instance=InstanceFacts(silence="no answer")), "see its log", "no answer"),
    "instance not asked": (replace(CLEAN, instance=InstanceFacts(denied="Permission denied")), "run", "denied"),
    "no configuration": (Facts(configured=False), "mcfwd doctor -c FILE", "only the machine"),
    "doubtful configuration": (
        replace(CLEAN, doubted=(Doubted("small rings", "receive rings will be smaller"),)), "raise ring_memory",
        "rings will be smaller",
    ),
    "no capability": (replace(CLEAN, kernel=KernelFacts("6.18", 1000, raw=False)), "setpriv --reuid 1000", "status 77"),
    "packet sockets refused": (
        replace(CLEAN, kernel=KernelFacts(refused="receive ring: socket: EAFNOSUPPORT")), "use a kernel",
        "EAFNOSUPPORT",
    ),
    "no segmentation": (replace(CLEAN, kernel=KernelFacts("6.1", segmentation=False)), "run Linux 6.2", "6.1"),
    "kernel not asked": (replace(CLEAN, kernel=KernelFacts("6.18", asked=False)), "run mcfwd doctor as root", "6.18"),
    "unusable interface": (with_lan(unusable="lo is a loopback interface"), "name another", "loopback"),
    "port of a master": (
        with_lan(enslaved=ENSLAVED, master_kind="bridge"), "ip link set dev eth1 nomaster", "name br0 instead",
    ),
    "degraded interface": (with_lan(degraded="receive ring: ENOMEM; what helps: free memory"), "free memory", "ENOMEM"),
    "missing interface": (with_lan(state="missing"), "make it, or name one that exists: eth0, eth1", "does not exist"),
    "interface down": (with_lan(state="down", admin_up=False), "ip link set dev eth1 up", "is down"),
    "no carrier": (with_lan(state="down"), "plug in", "no carrier"),
    "no address": (with_lan(bare="has no IPv4 address"), "ip address add ADDRESS/PREFIX dev eth1", "no IPv4 address"),
    "macvlans on top": (
        with_lan(macvlans=("mv0",)), "ip link add link eth1 name mcfwd-eth1 type macvlan mode bridge && ", "mv0",
    ),
    "macvlan apart": (with_lan(macvlan_mode="vepa"), "ip link set dev eth1 type macvlan mode bridge", "vepa"),
    "snooping without querier": (with_up(bridges=(BLIND,)), "ip link set dev br0 type bridge mcast_querier 1", "br0"),
    "other querier": (with_lan(querier="10.0.0.1"), "forward_when_not_querier = true", "10.0.0.1"),
    "multicast routing daemon": (
        replace(CLEAN, others=OtherFacts(daemons=(Daemon(77, "igmpproxy"),))), "kill 77", "process 77",
    ),
    "kernel multicast routing": (
        replace(CLEAN, doubted=(Doubted("kernel routing", "the kernel's multicast routing is in use on eth0 too"),)),
        "stop the program", "eth0 too",
    ),
    "kernel multicast routing elsewhere": (
        replace(CLEAN, others=OtherFacts(("eth7",), 3)), "nothing to do", "eth7 (3 entries)",
    ),
    "another instance": (
        replace(CLEAN, doubted=(Doubted("another instance", "another mcfwd serves eth1"),),
                others=OtherFacts(forwarders=(5, 6))), "kill 5 6", "eth1",
    ),
    "sender with TTL 1": (
        replace(CLEAN, flows=(ExaminedFlow("239.1.1.1", "10.0.0.9", "eth0", "ttl_expired", 7),)), "have the sender",
        "TTL 1",
    ),
    "source outside altnets": (
        replace(CLEAN, flows=(
            ExaminedFlow("239.1.1.1", "10.9.9.9", "eth0", "source_not_allowed", 7, ("10.0.0.0/24",)),
        )),
        'altnets = ["10.0.0.0/24", "10.9.9.9/32"] in [[interface]] of eth0', "10.9.9.9",
    ),
    "no memory for filters": (with_limits(filters=512, wanted_filters=2048), "sysctl -w net/core/optmem_max=", "512"),
    "small receive buffers": (
        with_limits(receive=212_992, wanted_receive=8 * MIB), "sysctl -w net/core/rmem_max=8388608", "208 KiB",
    ),
    "small receive buffers for latency": (
        with_limits(receive=212_992, wanted_receive=8 * MIB, latency=True), "sysctl -w net/core/rmem_max=", "8 MiB",
    ),
    "small send buffers": (with_limits(send=0, wanted_send=8 * MIB), "sysctl -w net/core/wmem_max=8388608", "0 B"),
    "send buffers overrun": (
        replace(with_lan(transmit_failed=3), limits=LimitFacts(send=1, wanted_send=2)), "sysctl -w", "eth1",
    ),
    "memory limit": (
        with_limits(memory=64 * MIB, memory_file="/sys/fs/cgroup/a b/memory.max", needed=97 * MIB, growth=16 * MIB),
        "echo 134217728 > '/sys/fs/cgroup/a b/memory.max'", "64 MiB",
    ),
    "little memory": (with_limits(available=9 * MIB, needed=97 * MIB, rings=160 * MIB), "free memory", "9 MiB"),
    "memberships of programs": (
        replace(CLEAN, limits=LimitFacts(memberships=2), programs=ProgramFacts(
            (LocalReceiver("eth0", "239.1.1.1"), LocalReceiver("eth0", "239.1.1.2")))),
        "sysctl -w net/ipv4/igmp_max_memberships=200", "2 groups",
    ),
    "local receiver": (
        replace(CLEAN, programs=ProgramFacts((LocalReceiver("eth1", "239.1.1.1", (5000,)),))),
        "ip link add mcfwd0 type veth peer name local0 && ", "239.1.1.1 (UDP port 5000) on eth1",
    ),
    "local sender": (
        replace(CLEAN, programs=ProgramFacts((), (LocalSender("eth0", "239.1.1.1", 5000),))),
        "ip link add mcfwd0 type veth peer name local0 && ", "239.1.1.1:5000",
    ),
    "strict reverse path": (
        replace(with_up(reverse_path=1), programs=ProgramFacts((LocalReceiver("eth0", "239.1.1.1"),))),
        "sysctl -w net/ipv4/conf/eth0/rp_filter=2", "rp_filter",
    ),
    "filter before us": (replace(CLEAN, firewall=FirewallFacts((HOOKED,))), "nft delete rule netdev t c", "eth0"),
    "hook that sees our frames": (
        replace(CLEAN, firewall=FirewallFacts(seeing=(("chain netdev t c", ("eth1",)),))), "nothing to do", "eth1",
    ),
    "traffic control filter": (
        with_lan(traffic_filters=(("egress", 49152, "u32"),)), "tc filter del dev eth1 egress pref 49152", "u32",
    ),
    "filter for programs": (
        replace(CLEAN, firewall=FirewallFacts((RULE,))), "nft delete rule ip", "does not stop mcfwd",
    ),
    "filters not read": (
        replace(CLEAN, firewall=FirewallFacts(unread=("nft: no",))), "run mcfwd doctor as root", "nft",
    ),
    "receive offload": (
        with_up(offloads={"rx-gro": ON, "rx-udp-gro-forwarding": OFF}), "ethtool -K eth0 rx-udp-gro-forwarding on",
        "join",
    ),
    "segmentation by the card": (
        with_lan(offloads={"tx-udp-segmentation": OFF}), "ethtool -K eth1 tx-udp-segmentation on", "segment",
    ),
}  # fmt: skip


def test_every_kind_has_a_case():
    names = [kind.name for kind in kinds()]
    assert sorted(CASES) == sorted(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", CASES)
def test_each_is_found_alone_with_its_remedy(name):
    facts, remedy, word = CASES[name]
    [finding] = examine(facts)
    assert finding.kind == name
    assert finding.remedy.startswith(remedy)
    assert word in finding.words
    assert finding.subject
    assert list(finding.to_json()) == ["severity", "subject", "words", "remedy"]
    assert finding.remedy.startswith(finding.command)


def test_nothing_is_found_where_all_is_well():
    assert examine(CLEAN) == []
    assert status([]) == 0


@pytest.mark.parametrize(
    "facts",
    [
        replace(CLEAN, instance=InstanceFacts(answers=True), kernel=KernelFacts(raw=False)),
        with_lan(bridges=(BLIND,)),                                     # we are to ask there
        with_up(bridges=(BLIND._replace(heard=True),)),
        with_up(bridges=(BLIND._replace(querier=True),)),
        with_up(bridges=(BLIND._replace(snooping=False),)),
        with_lan(querier="10.0.0.1", forwards_anyway=True),
        with_lan(bare="has no IPv4 address", peer="local0"),            # the recipe for programs of this host
        with_lan(macvlan_mode="bridge"),
        replace(CLEAN, interfaces=(UP, replace(LAN, macvlans=("mv0",)), InterfaceFacts(name="mv0", role="downstream"))),
        replace(CLEAN, programs=ProgramFacts((LocalReceiver("eth0", "239.1.1.1"),))),      # upstream the link serves it
        replace(CLEAN, programs=ProgramFacts(
            (LocalReceiver("eth9", "239.1.1.1"),), (LocalSender("eth9", "239.1.1.1", 1),))),
        replace(with_up(reverse_path=1), programs=ProgramFacts((LocalReceiver("eth0", "239.1.1.1"),), default="eth0")),
        replace(CLEAN, firewall=FirewallFacts((HOOKED._replace(devices=("eth9",)),), (("chain", ("eth9",)),))),
        with_up(offloads={"rx-gro": ON, "rx-udp-gro-forwarding": FIXED}),
        with_up(offloads={"rx-gro": ON, "rx-udp-gro-forwarding": ON}),
        with_up(kind="veth", offloads={"rx-gro": OFF, "rx-udp-gro-forwarding": OFF}),
        with_up(kind="bridge", offloads={"rx-gro": ON, "rx-udp-gro-forwarding": OFF}),
        with_lan(offloads={"tx-udp-segmentation": FIXED}),
        with_limits(memory=512 * MIB, needed=97 * MIB, growth=16 * MIB),
        replace(with_limits(available=9 * MIB, rings=160 * MIB), instance=InstanceFacts(answers=True)),
        replace(CLEAN, flows=(ExaminedFlow("239.1.1.1", "10.0.0.9", "eth0", "no_members", 7),)),
        replace(CLEAN, doubted=(Doubted("ports is down", "eth1 is down"),)),
    ],
)  # fmt: skip
def test_what_looks_alike_and_is_well(facts):
    assert examine(facts) == []


def test_what_an_interface_says_is_not_said_again():
    found = examine(replace(with_lan(enslaved=ENSLAVED, master_kind="bridge", degraded=ENSLAVED, bare="has none"),
                            doubted=(Doubted(ENSLAVED, ENSLAVED),)))  # fmt: skip
    assert [each.kind for each in found] == ["port of a master"]


def test_a_bridge_downstream_is_told_where_nobody_is_to_ask_and_once_for_all_on_it():
    found = examine(with_lan(bridges=(BLIND,), queries=False))
    assert [each.kind for each in found] == ["snooping without querier"]
    running = replace(CLEAN, instance=InstanceFacts(answers=True), interfaces=(
        replace(LAN, bridges=(BLIND,)), replace(LAN, name="eth2", bridges=(BLIND,))))  # fmt: skip
    assert [each.subject for each in examine(running)] == ["br0"]


def test_programs_are_sent_to_the_pair_that_there_is():
    pair = InterfaceFacts(name="mcfwd0", role="downstream", peer="local0")
    facts = replace(CLEAN, interfaces=(UP, LAN, pair), programs=ProgramFacts((LocalReceiver("eth1", "239.1.1.1"),)))
    [finding] = examine(facts)
    assert finding.remedy == "have it use local0, the other end of mcfwd0, in place of eth1"


def test_root_without_the_capability_is_told_of_its_container():
    [finding] = examine(replace(CLEAN, kernel=KernelFacts(uid=0, raw=False)))
    assert "--cap-add NET_RAW" in finding.remedy
    assert finding.command == ""


def test_a_filter_that_finds_no_memory_has_a_command():
    refused = "receive ring: SO_ATTACH_FILTER: ENOMEM, Cannot allocate memory"
    [finding] = examine(replace(CLEAN, kernel=KernelFacts(refused=refused)))
    assert finding.command == "sysctl -w net/core/optmem_max=131072"


def test_a_port_of_open_vswitch_has_a_command_of_its_own():
    [finding] = examine(with_lan(enslaved="eth1 is a port of Open vSwitch", master_kind="openvswitch"))
    assert finding.command == "ovs-vsctl del-port eth1"


@pytest.mark.parametrize("name", ["a;reboot", "$(reboot)", "it's", "-x", "a&&b", "`b`"])
def test_names_of_interfaces_are_words_to_a_shell(name):
    """The kernel takes nearly any octets, and who makes a tap in a container chooses them."""
    facts = replace(CLEAN, interfaces=(replace(LAN, name=name, state="down", admin_up=False),))
    [finding] = examine(facts)
    assert shlex.split(finding.command) == ["ip", "link", "set", "dev", name, "up"]


def test_the_worst_comes_first_and_gives_the_status():
    everything = replace(
        CLEAN, problems=("bad",), firewall=FirewallFacts((HOOKED, RULE)),
        interfaces=(replace(UP, offloads={"rx-gro": ON, "rx-udp-gro-forwarding": OFF}), replace(LAN, state="missing")),
    )  # fmt: skip
    found = examine(everything)
    assert [each.severity for each in found] == sorted((each.severity for each in found), key=SEVERITIES.index)
    assert status(found) == 2
    assert status([each for each in found if each.severity != "error"]) == 1
    assert status([each for each in found if each.severity == "note"]) == 0
