"""Fixtures of the tests on real links: namespaces where the machine allows them, else a skip that says why."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from forwarder.lab import links
from forwarder.lab.mcfwd import Mcfwd
from forwarder.lab.namespaces import Namespace
from forwarder.lab.topology import Lab


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
