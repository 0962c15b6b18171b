"""Where the default route leads."""

from typing import Any

import netifaces


def default_interface() -> str | None:
    """The interface of the default IPv4 route, if there is one."""
    default: Any = netifaces.gateways().get("default", {})
    return default[netifaces.AF_INET][1] if netifaces.AF_INET in default else None
