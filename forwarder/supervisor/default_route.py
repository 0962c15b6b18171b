"""Where the default route leads."""

from typing import Any

import netifaces


def default_interface() -> str | None:
    """The interface of the default IPv4 route; None where there is none, or the system does not say."""
    try:
        default: Any = netifaces.gateways().get("default", {})
    except OSError:     # descriptors or memory: what is doubtful about roles is not worth a reload
        return None
    return default[netifaces.AF_INET][1] if netifaces.AF_INET in default else None
