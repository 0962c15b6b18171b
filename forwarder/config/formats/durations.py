"""Times as RouterOS writes them: 2m5s, 00:02:05, 125."""

import re

from forwarder.config.rules import quote

UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
# Nine digits are thirty years: more are no time, and a float would not hold them.
BY_UNITS = re.compile(r"(?:\d{1,9}(?:w|d|h|ms|m|s)){1,6}", re.ASCII)
PART = re.compile(r"(\d+)(w|d|h|ms|m|s)", re.ASCII)
BY_CLOCK = re.compile(r"(?:(\d{1,9})d)?(\d{1,9}):(\d\d):(\d\d(?:\.\d{1,9})?)", re.ASCII)
PLAIN = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


def seconds(text: str, least: float, most: float) -> float:
    """How long; ValueError where it is no time from `least` to `most`, both in seconds."""
    if clock := BY_CLOCK.fullmatch(text):
        days, hours, minutes, rest = clock.groups()
        found = int(days or 0) * UNITS["d"] + int(hours) * UNITS["h"] + int(minutes) * UNITS["m"] + float(rest)
    elif BY_UNITS.fullmatch(text):
        found = sum(int(number) * UNITS[unit] for number, unit in PART.findall(text))
    elif PLAIN.fullmatch(text):
        found = float(text)
    else:
        raise ValueError(f'should be a time such as "2m5s", "00:02:05" or "125", not {quote(text)}')
    if least <= found <= most:
        return found
    raise ValueError(f"should be a time from {least:g} to {most:g} seconds, not {quote(text)}")
