"""Names of links as the kernel allows them, and as they can be shown; a netlink socket that has failed."""

import errno

import pytest
from pyroute2 import NetlinkDumpInterrupted

from forwarder.rules import name_problem, quote
from forwarder.supervisor.links import LinkWatch, printable


@pytest.mark.parametrize(("name", "shown"), [
    ("eth0", "eth0"),
    ("küche", "küche"),
    (b"x\xff\xfe", "x\\xff\\xfe"),
    ("a\x1b[2Jb", "a\\x1b[2Jb"),
    ("a\u202eb", "a\\u202eb"),
    (b"\x01", "\\x01"),
])  # fmt: skip
def test_every_name_can_be_printed_and_sent(name, shown):
    assert printable(name) == shown
    assert printable(name).isprintable()
    printable(name).encode()


@pytest.mark.parametrize("name", ["\ud800", "eth\udfff"])
def test_text_that_is_not_unicode_is_no_name_and_can_be_quoted(name):
    assert "is not Unicode text" in name_problem(name)
    quote(name).encode()


class Route:
    """A netlink socket that fails as it is told to, and from then on always, as those of pyroute2 do."""

    def __init__(self, failures: list[Exception]) -> None:
        self._failures, self._failed, self.closed = failures, None, False

    def get_addr(self, family: int) -> list:
        if self._failures and not isinstance(self._failed, OSError):
            self._failed = self._failures.pop(0)
        if self._failed is not None:
            raise self._failed
        return []

    def get_links(self) -> list:
        return []

    def close(self) -> None:
        self.closed = True
        raise OSError(errno.EBADF, "half of it is closed")


def test_a_netlink_socket_that_has_failed_is_not_asked_again():
    failures, made = [OSError(errno.ENOBUFS, "no buffer space")], []
    watch = LinkWatch(lambda: made.append(Route(failures)) or made[-1])
    with pytest.raises(OSError, match="no buffer space"):
        watch.snapshot()
    assert made[0].closed
    assert watch.snapshot() == {}
    assert watch.snapshot() == {}
    assert len(made) == 2


def test_a_dump_that_was_interrupted_is_asked_for_again_by_the_same_socket():
    made = []
    watch = LinkWatch(lambda: made.append(Route([NetlinkDumpInterrupted(), NetlinkDumpInterrupted()])) or made[-1])
    with pytest.raises(NetlinkDumpInterrupted):
        watch.snapshot()
    assert (len(made), made[0].closed) == (1, False)


def test_links_are_not_looked_at_while_there_is_no_socket_for_it_and_then_are():
    sockets = [Route([OSError(errno.ENOMEM, "no memory")]), OSError(errno.EMFILE, "too many"), Route([])]

    def opened() -> Route:
        if isinstance(made := sockets.pop(0), OSError):
            raise made
        return made

    watch = LinkWatch(opened)
    for words in ("no memory", "too many"):
        with pytest.raises(OSError, match=words):
            watch.snapshot()
    assert watch.snapshot() == {}
    watch = LinkWatch(lambda: Route([OSError(errno.ENOMEM, "no memory")]))
    with pytest.raises(OSError, match="no memory"):
        watch.snapshot()
    watch.close()
