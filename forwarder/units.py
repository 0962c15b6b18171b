"""Numbers, lists and foreign text as people read them. Programs get them as they are (`--json`)."""

from collections.abc import Sequence

LISTED = 8      # names or addresses in one cell


def count(number: int) -> str:
    """A number of things: 12,345 or 12.3 M."""
    if number < 100_000:
        return f"{number:,}"
    return _scaled(number, 1000, (" k", " M", " G", " T", " P", " E"))


def size(number: int) -> str:
    """A number of bytes: 512 B or 12.3 MiB."""
    if number < 1024:
        return f"{number} B"
    return _scaled(number, 1024, (" KiB", " MiB", " GiB", " TiB", " PiB", " EiB"))


def rate(bits: int) -> str:
    """A rate in bits per second: 64 kbit/s or 1.5 Mbit/s."""
    if bits < 1000:
        return f"{bits} bit/s"
    return _scaled(bits, 1000, (" kbit/s", " Mbit/s", " Gbit/s", " Tbit/s", " Pbit/s", " Ebit/s"))


def per_second(number: float | None) -> str:
    """Things a second: 0.4, 12 or 12,345; "-" where it is not known."""
    if number is None:
        return "-"
    return f"{number:.1f}" if 0 < number < 9.95 else count(round(number))


def _scaled(number: float, step: int, units: Sequence[str]) -> str:
    for unit in units[:-1]:
        number /= step
        if number < step * 0.9995:
            return _rounded(number) + unit
    return _rounded(number / step) + units[-1]


def _rounded(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0") if number < 99.95 else f"{number:.0f}"


def duration(seconds: float | None) -> str:
    """Seconds as 0.3s, 12s, 2m05s, 1h02m or 3d04h; "-" for none."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole // 60 % 60:02d}m"
    return f"{whole // 86400}d{whole // 3600 % 24:02d}h"


def listed(texts: Sequence[str], empty: str = "-") -> str:
    """A list in one cell, its tail counted; `empty` for none."""
    more = len(texts) - LISTED
    return ", ".join(texts[:LISTED]) + (f" +{more}" if more > 0 else "") or empty


def visible(text: str) -> str:
    """Text that cannot move the cursor or hide: whatever cannot be printed is escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
