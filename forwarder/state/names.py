"""Names of interfaces for who has mistyped one. Pure."""

from collections.abc import Iterable

TOLD = 8            # names in a line
LOOKED_AT = 4096    # as many as there can be ports; to compare with one takes some 10 µs


def near(name: str, names: Iterable[str], most: int = TOLD) -> list[str]:
    """Those of `names` that look like `name`, the most alike first."""
    from difflib import get_close_matches  # which nobody needs who mistypes nothing

    return get_close_matches(name, sorted(names)[:LOOKED_AT], n=most, cutoff=0.6)


def known(name: str, names: Iterable[str]) -> str:
    """What there is instead of `name`, to stand behind the words that say so: near ones first, TOLD at most."""
    there = sorted(set(names))
    alike = near(name, there)
    ordered = [*alike, *(each for each in there if each not in alike)]
    more = f" and {len(ordered) - TOLD} more" if len(ordered) > TOLD else ""
    return f"; there {'is' if len(ordered) == 1 else 'are'} {', '.join(ordered[:TOLD]) or 'none'}{more}"
