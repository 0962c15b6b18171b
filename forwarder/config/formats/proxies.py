"""What the IGMP proxies of routers (VyOS, RouterOS) mean alike."""

from collections.abc import Mapping

from forwarder.config.formats.problems import Problems
from forwarder.config.formats.translation import Origin, Outside, Translation
from forwarder.config.formats.values import interface_name
from forwarder.config.rules import quote


def numbers(
    translation: Translation, origins: Mapping[str, Origin], outside: Outside, problems: Problems
) -> dict[str, int]:
    """The number of the `[[interface]]` of each name in the file; names that cannot be here are problems."""
    taken: dict[str, str] = {}
    found: dict[str, int] = {}
    for text, origin in origins.items():
        with problems.of(origin):
            name = interface_name(text, outside)
            if name in taken:
                raise ValueError(f"{quote(text)} and {quote(taken[name])} are both {quote(name)}")
            taken[name] = text
            found[text] = translation.interface(name, origin)
    return found


def own_subnets_alone(translation: Translation, at: int, origin: Origin) -> None:
    """An upstream of theirs takes sources in its own subnets and in those listed; ours takes any while none is."""
    translation.say(("interface", at, "altnets"), [], origin)


def quick_leave(translation: Translation, on: bool, origin: Origin | None) -> None:
    """Quick leave, which they have for all downstream interfaces at once; `origin` None: nothing was said of it."""
    downstream = of_role(translation, "downstream")
    for at in downstream:
        translation.say(("interface", at, "quick_leave"), on, origin or translation.origins["interface", at])
    if on and downstream:
        words = "quick leave is the safe kind here: a group ends at once when its last known receiver leaves"
        translation.warn(origin or translation.origins["interface", downstream[0]], f"{words}, not when any leaves")


def one_upstream(translation: Translation, product: str, origin: Origin) -> None:
    """They have exactly one upstream; we serve any number."""
    upstreams = of_role(translation, "upstream")
    if not upstreams:
        words = f"no interface is upstream, which {product} does not take: here it is forwarded between the others"
        translation.warn(origin, words)
    for at in upstreams[1:]:
        words = f"{product} takes one upstream; here all are served, and a stream that several bring is taken from one"
        translation.warn(translation.origins["interface", at, "role"], words)


def of_role(translation: Translation, role: str) -> list[int]:
    """The numbers of the interfaces that have a role."""
    return [at for at, each in enumerate(translation.tables.get("interface", ())) if each.get("role") == role]
