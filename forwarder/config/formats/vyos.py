"""`protocols igmp-proxy` of VyOS, as braces or as `set` commands; Vyatta's and EdgeOS's config.boot are the same.

What it means is what igmpproxy does with the file that these systems write for it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from forwarder.config.files import ConfigurationError
from forwarder.config.formats import meanings, proxies
from forwarder.config.formats.braces import Statement, statements
from forwarder.config.formats.igmp_proxy_node import IgmpProxy, Interface
from forwarder.config.formats.places import origin_of
from forwarder.config.formats.problems import Problems
from forwarder.config.formats.translation import Origin, Outside, Translation
from forwarder.config.formats.values import network, whole_number

FORMAT = "vyos"
NODE = ("protocols", "igmp-proxy")
RIVALS = ("pim", "igmp")        # other nodes of `protocols` that would serve the same receivers
DEEPEST = 64                    # nodes in each other; real ones are not ten deep
MOST_LEVEL = 16                 # words from the root to a node: ours have six at most, and what is kept has to end
BLOCK = re.compile(r"(?m)^[^#\n]*\bigmp-proxy[^\S\n]*+\{")
COMMAND = re.compile(
    r"(?m)^[^\S\n]*+(?:[^\s#]\S*+[^\S\n]++)?(?:set|delete|edit)[^\S\n]++(?:protocols[^\S\n]++)?igmp-proxy\b"
)
PROMPT = re.compile(r"[^@\s]{1,64}@.{1,64}[#$>]")

Words = tuple[str, ...]
Said = tuple[str, Words, Statement]     # a verb, "set" or "delete"; of what, words from the root on; where


def recognises(text: str, path: Path) -> bool:
    """Whether a file has such a node, or commands that make one."""
    return "igmp-proxy" in text and bool(BLOCK.search(text) or COMMAND.search(text))


def translate(text: str, path: Path, outside: Outside) -> Translation:
    """What the node says; everything else in the file is passed over. Raises ConfigurationError."""
    problems, node, rivals = Problems(), IgmpProxy(), dict[str, Origin]()
    is_block = BLOCK.search(text) or not COMMAND.search(text)
    for verb, words, said in _blocks(text, path) if is_block else _commands(text, path):
        if words[:1] == ("igmp-proxy",):    # people publish the node alone
            words = ("protocols", *words)
        if words[:2] == NODE or (verb == "delete" and words == NODE[:1]):
            origin = origin_of(path, said.line, text, said.start, said.end)
            with problems.of(origin):
                node.say(verb, words[2:], origin)
        elif words[:1] == NODE[:1] and words[1:2] and words[1] in RIVALS:
            if verb == "set" and words[1] not in rivals:
                rivals[words[1]] = origin_of(path, said.line, text, said.start, said.end)
            elif verb == "delete" and len(words) == 2:
                rivals.pop(words[1], None)
    problems.refuse()
    return _translated(node, rivals, path, outside)


def _blocks(text: str, path: Path) -> Iterator[Said]:
    """Statements below `protocols`, with their words from the root on; those elsewhere only open and close blocks."""
    inside: list[Words | None] = [()]         # the words of each open block; None: it is of no interest
    for said in statements(text, path):
        above = inside[-1]
        words = None if above is None else _of_interest(above + said.words)
        if words and said.words:
            yield "set", words, said
        if said.ending == "{":
            inside.append(words and words[:MOST_LEVEL])
        elif said.ending == "}":
            inside.pop()
        if not 1 <= len(inside) <= DEEPEST:
            what = f"blocks in each other, more than {DEEPEST}" if inside else "a } without its {"
            raise ConfigurationError(f"{Origin(path, said.line).place}: {what}")
    if len(inside) > 1:
        raise ConfigurationError(f"{Origin(path, text.count(chr(10)) + 1).place}: a block that does not end")


def _of_interest(words: Words) -> Words | None:
    """The words of a node that ours may be below, or that is below ours or a rival."""
    below = words[1:2] if words[:1] == NODE[:1] else words[:1]
    return words if not below or below[0] in (NODE[1], *RIVALS) else None


def _commands(text: str, path: Path) -> Iterator[Said]:
    """What `set` and `delete` are about, below what `edit` has chosen; other commands change nothing here."""
    level: Words = ()
    for said in statements(text, path):
        verb, *words = said.words or ("",)
        if words and (PROMPT.fullmatch(verb) or words[0] in ("set", "delete")):     # or a script's name for a wrapper
            verb, *words = words
        if verb in ("set", "delete"):
            yield verb, (*level, *words), said
        elif verb == "edit":
            level = (*level, *words)[:MOST_LEVEL]
        elif verb == "up":
            level = level[: -2 if level[-2:-1] == ("interface",) else -1]
        elif verb in ("top", "exit"):
            level = ()
        elif verb in ("rename", "copy") and "igmp-proxy" in (*level, *words):
            raise ConfigurationError(f"{Origin(path, said.line).place}: {verb} is not understood here; write it as set")


def _translated(node: IgmpProxy, rivals: dict[str, Origin], path: Path, outside: Outside) -> Translation:
    translation, problems = Translation(FORMAT, disabled=node.flags.get("disable")), Problems()
    served = {name: each for name, each in node.interfaces.items() if each.speaks}
    if node.origin is None or not (served or translation.disabled):
        raise ConfigurationError(f"{Origin(path, 1).place}: protocols igmp-proxy names no interface")
    numbers = proxies.numbers(translation, {name: each.origin for name, each in served.items()}, outside, problems)
    for name, at in numbers.items():
        with problems.of(served[name].origin):
            _interface(translation, problems, at, served[name])
    proxies.quick_leave(translation, "disable-quickleave" not in node.flags, node.flags.get("disable-quickleave"))
    proxies.one_upstream(translation, "VyOS", node.origin)
    if len(served) < 2:
        translation.warn(node.origin, "VyOS wants two interfaces here at least")
    for name, origin in rivals.items():
        words = f"VyOS does not take protocols {name} beside igmp-proxy: where both serve an interface"
        translation.warn(origin, f"{words}, receivers get everything twice")
    problems.refuse()
    return translation


def _interface(translation: Translation, problems: Problems, at: int, said: Interface) -> None:
    role, origin = said.last("role") or ("downstream", said.origin)
    translation.say(("interface", at, "role"), role, origin)
    if role == "upstream":
        proxies.own_subnets_alone(translation, at, said.origin)
    for text, origin in said.all("alt-subnet"):
        with problems.of(origin):
            meanings.sources(translation, at, network(text), origin)
    for text, origin in said.all("whitelist"):
        with problems.of(origin):
            meanings.groups(translation, at, network(text), origin)
    if threshold := said.last("threshold"):
        with problems.of(threshold[1]):
            meanings.threshold_above(translation, at, whole_number(threshold[0], 1, 255), threshold[1])
