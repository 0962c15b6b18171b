"""What `mcfwd show` and the API agree on: the keys of each noun's rows, and by what its rows can be chosen. Pure."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The keys of a row, and for each kind of filter (`group`, `interface`, `host`, `source`) those that it looks at.

    `problems`: whether some rows have a problem that others have not.
    """

    keys: tuple[str, ...] = ()
    filters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    problems: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        """What a question may say besides the noun."""
        chosen = (*self.filters, *(["problems"] if self.problems else []))
        return (*chosen, "order", "offset", "limit") if self.keys else ()


def _keys(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_MEMBER = {"group": ("group",), "interface": ("interface",)}

NOUNS = {
    "interfaces": Vocabulary(
        _keys(
            "name index role state address mac mtu link_type querier querier_address igmp_version groups "
            "host_memberships igmp rx_packets rx_bytes tx_packets tx_bytes drops segmentation segmentation_reason ring "
            "ring_reason ring_memory ring_replacements degraded rx_packets_per_second rx_bits_per_second "
            "tx_packets_per_second tx_bits_per_second"
        ),
        {"interface": ("name",)},
        problems=True,
    ),
    "groups": Vocabulary(
        _keys("interface group mode sources excluded_sources compatibility expires uptime last_reporter static note"),
        {**_MEMBER, "source": ("sources", "excluded_sources")},
        problems=True,
    ),
    "hosts": Vocabulary(
        _keys("interface group host mac mode sources expires"),
        {**_MEMBER, "host": ("host",), "source": ("sources",)},
    ),
    "refusals": Vocabulary(
        _keys("interface group host mac mode sources reason rule since last count"),
        {**_MEMBER, "host": ("host",), "source": ("sources",)},
        problems=True,
    ),
    "routes": Vocabulary(
        _keys("group source upstream interfaces kind note"),
        {"group": ("group",), "interface": ("upstream", "interfaces"), "source": ("source",)},
        problems=True,
    ),
    "flows": Vocabulary(
        _keys(
            "group source upstream downstreams packets bytes wrong_packets idle verdict hint dropped "
            "packets_per_second bits_per_second since"
        ),
        {"group": ("group",), "interface": ("upstream", "downstreams"), "source": ("source",)},
        problems=True,
    ),
    "upstream": Vocabulary(
        _keys("interface group mode sources version interfaces static"),
        {"group": ("group",), "interface": ("interface", "interfaces"), "source": ("sources",)},
    ),
    "stats": Vocabulary(),
}
