"""A port's sockets: what they fit, and one of several rings in the place of another."""

from dataclasses import fields, replace

from forwarder.state.ports import Port
from forwarder.state.settings import InterfaceSettings
from forwarder.supervisor.sockets import PortSockets, key_of

PORT = Port(3, 7, "eth1", "downstream", InterfaceSettings(name="eth1"), 11)


def sockets(**said: object) -> PortSockets:
    return PortSockets(**{field.name: None for field in fields(PortSockets)} | {"key": key_of(PORT), **said})


def test_sockets_fit_the_port_they_were_opened_for_in_its_role():
    opened = sockets(role="downstream")
    assert opened.fit(PORT) is True
    others = {"index": 4, "assigned": 8, "ifindex": 12, "role": "upstream"}
    assert not any(opened.fit(replace(PORT, **{key: value})) for key, value in others.items())
    assert opened.fit(replace(PORT, name="eth9", up=True, mtu=9000))


def test_one_ring_takes_the_place_of_another():
    opened = sockets(rings=("first", "second", "third"))
    assert [opened.with_ring(at, "new").rings for at in range(3)] == [
        ("new", "second", "third"), ("first", "new", "third"), ("first", "second", "new"),
    ]  # fmt: skip
    assert opened.rings == ("first", "second", "third")
