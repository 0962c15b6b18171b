"""Fixtures of the tests on real links: namespaces where the machine allows them, else a skip that says why."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from forwarder.lab import links
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import Lab
from netns.site import Site, Stream

SIDE_BY_SIDE = frozenset((
    "batch", "both", "control", "formats_routers", "host_igmp", "igmpproxy_conf", "lans", "link_types", "link_watch",
    "log", "masters", "membership", "peer_bridge", "peer_igmpproxy", "peer_smcroute", "queries",
    "refused", "scenarios_forwarding", "scenarios_proxy", "scenarios_querier", "scenarios_states", "show", "startup",
    "state_cases", "static", "two_forwarders", "unnumbered", "upstream_older", "upstream_queries",
))  # fmt: skip
"""Files whose tests wait for the protocol most of the time: two run at once (three gained no more than a minute).

The others load the machine, or look at all of it, and run alone; so do new files, until somebody has seen that they
need not.
"""


@cache
def obstacle() -> str:
    """Why no lab can be built here; empty when one can."""
    try:
        with Lab(1):
            return ""
    except OSError as error:
        return f"no network namespaces here (root or user namespaces needed): {error}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "netns" in item.nodeid.split("::")[0]:
            item.add_marker(pytest.mark.netns)
            if item.path.stem.removeprefix("test_") not in SIDE_BY_SIDE:
                item.add_marker(pytest.mark.alone)


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if reason := obstacle():
        pytest.skip(reason)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test enters, in reverse order."""
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def pair(stack: ExitStack) -> tuple[Namespace, Namespace]:
    """Two namespaces joined by eth0 (10.0.0.1) and eth0 (10.0.0.2), up."""
    left, right = stack.enter_context(Namespace("left")), stack.enter_context(Namespace("right"))
    links.veth(left, "eth0", right, "eth0")
    for number, namespace in enumerate((left, right), 1):
        links.add_address(namespace, "eth0", f"10.0.0.{number}/24")
        links.up(namespace, "eth0")
    for namespace in (left, right):
        links.wait_up(namespace, "eth0")
    return left, right


@pytest.fixture
def make_lab(stack: ExitStack) -> Callable[..., Lab]:
    """Builds a Lab that ends with the test: `make_lab(receivers)`."""
    return lambda receivers=1, **options: stack.enter_context(Lab(receivers, **options))


@pytest.fixture
def lab(make_lab: Callable[..., Lab]) -> Lab:
    """A lab with two receivers."""
    return make_lab(2)


@pytest.fixture
def start_mcfwd(stack: ExitStack) -> Callable[..., Mcfwd]:
    """Starts mcfwd in a lab's router on all its links: `start_mcfwd(lab, *arguments, **options)`."""

    def start(lab: Lab, *arguments: str, **options: object) -> Mcfwd:
        ports = [word for port in lab.downstreams for word in ("-d", port)]
        return stack.enter_context(Mcfwd(lab.router, "-u", lab.upstream, *ports, *arguments, **options))

    return start


@pytest.fixture(scope="module")
def running_site() -> Iterator[Site]:
    """Receivers of all three versions, two sources and mcfwd, for all tests of a module."""
    if reason := obstacle():
        pytest.skip(reason)
    with Site() as site:
        yield site


@pytest.fixture
def site(running_site: Site) -> Iterator[Site]:
    """The module's site; what a test has joined is left after it."""
    yield running_site
    running_site.leave_all()


@pytest.fixture
def streams(site: Site, stack: ExitStack) -> list[Stream]:
    """The UDP of the site's downstream links from the beginning of the test."""
    return site.streams(stack)


@pytest.fixture
def group(running_site: Site) -> str:
    """A group that both sources send and no other test takes."""
    return running_site.new_group()


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str, float], float]:
    """Keeps a duration with the test's result and prints it: `measured(name, seconds)` gives it back."""

    def keep(name: str, seconds: float) -> float:
        record_property(name, round(seconds, 6))
        print(f"{name}: {1000 * seconds:.1f} ms")
        return seconds

    return keep
