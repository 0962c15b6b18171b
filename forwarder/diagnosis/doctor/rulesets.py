"""What packet filters drop of multicast, by `nft -j list ruleset` (libnftables-json(5)) and `iptables-save`. Pure.

The JSON of nft before 1.0.8 does not name the devices of a netdev hook; `nft list chains` does, as text for people.

Both come from elsewhere and may hold anything: what is not understood drops nothing. A rule is looked at if a chain
with a hook leads to it.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from forwarder.diagnosis.doctor.facts import FilterRule, FirewallFacts
from forwarder.diagnosis.doctor.finding import command
from forwarder.units import visible

Chain = tuple[str, str, str]    # family, table, name
STACK = ("prerouting", "input", "forward", "output", "postrouting")
DEVICE = ("ingress", "egress")
DROPPING = ("drop", "reject")
NAMED = ("igmp", "multicast", 2)        # protocol 2; types of packets and addresses
OTHER_TRAFFIC = ("tcp", "icmp", "icmpv6", "sctp", "arp", "ip6")
ALL_GROUPS = "224.0.0.0/4"
LONGEST_TEXT = 120      # of a rule in words
NAME = re.compile(r"[\w./-]+", re.ASCII)
TABLE, CHAIN = re.compile(r"table (\S+) (\S+) \{"), re.compile(r"\s+chain (\S+) \{")
HOOK = re.compile(r"\s+type \S+ hook \S+ devices? (?:= \{ )?(.*?)(?: \})? priority ")
DEEPEST = 32            # chains in chains, or sets in sets


def of_nft(text: str, listed_chains: str = "") -> FirewallFacts:
    """What drops, and which hooks of devices drop nothing; ValueError where it is no JSON of nft.

    `listed_chains`: the answer of `nft list chains`.
    """
    try:
        items = json.loads(text)["nftables"]
        chains = {_key(each["chain"], "name"): each["chain"] for each in items if "chain" in each}
        rules: dict[Chain, list[Any]] = {}
        for each in items:
            if "rule" in each:
                rules.setdefault(_key(each["rule"], "chain"), []).append(each["rule"])
        return _judged(chains, rules, _listed(listed_chains))
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not what nft says: {error}") from error


def _listed(text: str) -> dict[Chain, tuple[str, ...]]:
    """The devices of chains that have some."""
    found: dict[Chain, tuple[str, ...]] = {}
    table, name = ("", ""), ""
    for line in text.splitlines():
        if match := TABLE.match(line):
            table = match[1], match[2]
        elif match := CHAIN.match(line):
            name = match[1]
        elif match := HOOK.match(line):
            found[*table, name] = tuple(each.strip('" ') for each in match[1].split(","))
    return found


def _judged(
    chains: Mapping[Chain, Any], rules: Mapping[Chain, list[Any]], listed: Mapping[Chain, tuple[str, ...]]
) -> FirewallFacts:
    found: list[FilterRule] = []
    seeing = []
    for key, chain in chains.items():
        hook, devices = chain.get("hook"), _devices(chain) or listed.get(key, ())
        reached = [rule for each in _reached(key, rules) for rule in rules.get(each, ())]
        if hook in DEVICE and devices:
            dropping = [*_policy(key, chain, devices), *_dropping(reached, devices)]
            found += dropping
            if not dropping:
                seeing.append((f"chain {' '.join(key)} ({hook})", devices))
        elif hook in STACK and key[0] in ("ip", "inet"):
            found += _dropping(reached, ())
            if hook == "input" and chain.get("policy") == "drop" and not any(map(_accepts, reached)):
                yes = _nft("insert", "rule", *key, "ip", "daddr", ALL_GROUPS, "accept")
                found.append(FilterRule(f"chain {' '.join(key)}", "policy drop, and no rule accepts multicast", yes))
    return FirewallFacts(tuple(dict.fromkeys(found)), tuple(seeing))


def _key(item: Any, name: str) -> Chain:
    return str(item["family"]), str(item["table"]), str(item[name])


def _devices(chain: Any) -> tuple[str, ...]:
    said = chain.get("dev", ())
    return (said,) if isinstance(said, str) else tuple(map(str, said))


def _reached(key: Chain, rules: Mapping[Chain, list[Any]]) -> list[Chain]:
    """A chain, and those to which it leads."""
    found, family, table = [key], *key[:2]
    for each in found:      # grows meanwhile
        for rule in rules.get(each, ()):
            for expression in rule["expr"]:
                target = (expression.get("jump") or expression.get("goto") or {}).get("target")
                if target and (family, table, target) not in found:
                    found.append((family, table, target))
    return found


def _policy(key: Chain, chain: Any, devices: tuple[str, ...]) -> Iterator[FilterRule]:
    if chain.get("policy") == "drop":
        remedy = _nft("chain", *key, "{ policy accept; }")
        yield FilterRule(f"chain {' '.join(key)} ({chain['hook']})", "policy drop", remedy, devices)


def _dropping(rules: Iterable[Any], devices: tuple[str, ...]) -> Iterator[FilterRule]:
    """Rules that drop: of a device any that may be about UDP or IGMP, otherwise those about multicast."""
    for rule in rules:
        matches = [each["match"] for each in rule["expr"] if "match" in each]
        about = any(map(_is_multicast, matches)) if not devices else not any(map(_is_other, matches))
        if about and any(verdict in each for each in rule["expr"] for verdict in DROPPING):
            place = [*_key(rule, "chain"), "handle", str(rule["handle"])]
            text = visible(" ".join(filter(None, map(_words, rule["expr"]))))[:LONGEST_TEXT]
            yield FilterRule(f"rule {' '.join(place)}", text, _nft("delete", "rule", *place), devices)


def _nft(verb: str, *words: str) -> str:
    """A command; nft reads its words as one text, so names that are no names in it are only shown."""
    strange = any(not (NAME.fullmatch(each) or each == "{ policy accept; }") for each in words)
    return "nft -a list ruleset" if strange else command("nft", verb, *words)


def _accepts(rule: Any) -> bool:
    matches = [each["match"] for each in rule["expr"] if "match" in each]
    return any("accept" in each for each in rule["expr"]) and (not matches or any(map(_is_multicast, matches)))


def _is_multicast(match: Any) -> bool:
    return match.get("op") != "!=" and any(each in NAMED or _is_group(each) for each in _values(match["right"]))


def _is_other(match: Any) -> bool:
    values = list(_values(match["right"]))
    return match.get("op") != "!=" and bool(values) and all(each in OTHER_TRAFFIC for each in values)


def _values(right: Any, depth: int = 0) -> Iterator[str | int]:
    """The words, numbers and addresses of the right side, of networks and ranges the first."""
    if isinstance(right, str | int):
        yield right
    elif isinstance(right, list) and depth < DEEPEST:
        for each in right:
            yield from _values(each, depth + 1)
    elif isinstance(right, dict) and depth < DEEPEST:
        for key, inner in right.items():
            if key == "prefix":
                yield inner["addr"]
            elif key == "range":
                yield from _values(inner[:1], depth + 1)
            else:
                yield from _values(inner, depth + 1)


def _is_group(value: str | int) -> bool:
    """Whether it is an IPv4 address, or a network, of 224.0.0.0/4."""
    first = str(value).split("/")[0].split(".")
    return len(first) == 4 and all(each.isdecimal() for each in first) and 224 <= int(first[0]) <= 239


def _words(expression: Any) -> str:
    """A match or a verdict, shorter than nft says it; what has no part in whether it drops is left out."""
    if "match" in expression:
        left, right = expression["match"]["left"], list(_values(expression["match"]["right"]))
        inner: Any = next(iter(left.values()), {}) if isinstance(left, dict) else {}
        name = " ".join(str(inner[key]) for key in ("protocol", "key", "field", "result") if key in inner)
        return f"{name} {', '.join(map(str, right[:4]))}"
    return next((verdict for verdict in DROPPING if verdict in expression), "")


def of_iptables(text: str, program: str = "iptables") -> FirewallFacts:
    """The same of `iptables-save`."""
    found, table, closed, accepting = [], "filter", False, False
    for line in text.splitlines():
        words = line.split()
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":INPUT ") and table == "filter":
            closed = words[1:2] == ["DROP"]
        elif line.startswith("-A ") and len(words) > 2 and (quoted := _requoted(line[3:])):
            target = dict(pairwise(words)).get("-j")
            about = _is_about_multicast(words)
            accepting = accepting or (target == "ACCEPT" and words[1] == "INPUT" and (about or len(words) == 4))
            if about and target in ("DROP", "REJECT"):
                remedy = f"{command(program, '-t', table)} -D {quoted}"
                found.append(FilterRule(f"{program} {table} {words[1]}", visible(line)[:LONGEST_TEXT], remedy))
    if closed and not accepting:
        remedy = command(program, "-I", "INPUT", "-d", ALL_GROUPS, "-j", "ACCEPT")
        found.append(FilterRule(f"{program} filter INPUT", "policy DROP, and no rule accepts multicast", remedy))
    return FirewallFacts(tuple(found))


def _requoted(rule: str) -> str:
    """A rule quoted as a shell wants it: a comment may hold anything. Empty for none."""
    try:
        return shlex.join(shlex.split(rule))
    except ValueError:
        return ""


def _is_about_multicast(words: list[str]) -> bool:
    """By protocol, destination or type; not where that is negated."""
    for before, option, value in zip(["", *words], words, words[1:], strict=False):
        match option:
            case _ if before == "!":
                continue
            case "-p" if value in ("igmp", "2"):
                return True
            case "-d" if _is_group(value):
                return True
            case "--pkt-type" | "--dst-type" if value.lower() == "multicast":
                return True
    return False
