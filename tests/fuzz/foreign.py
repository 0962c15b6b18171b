"""What is fuzzed of files of other programs: any text is translated, or refused by file and line.

`vyos`, `routeros`: the text as it is, and behind a beginning that makes it one of the format.
"""

from pathlib import Path

from golden import survives

from forwarder.config.formats import routeros as routeros_format
from forwarder.config.formats import vyos as vyos_format


def vyos(data: bytes) -> None:
    """config.boot, and commands."""
    text = data.decode(errors="replace")
    for beginning in ("", "protocols {\n igmp-proxy {\n", "set protocols igmp-proxy interface "):
        survives(vyos_format, beginning + text, Path("fuzzed"))


def routeros(data: bytes) -> None:
    """An export, and commands."""
    text = data.decode(errors="replace")
    for beginning in ("", "/routing igmp-proxy interface\nadd interface=ether1 upstream=yes\n", "/routing igmp-proxy "):
        survives(routeros_format, beginning + text, Path("fuzzed"))


TARGETS = {target.__name__: target for target in (vyos, routeros)}
