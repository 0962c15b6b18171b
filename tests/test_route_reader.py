"""The agent's writer and the worker's reader of routes against a dict, with everything that can come in between."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from forwarder.state import routes, segment
from forwarder.state.route_reader import RouteReader
from forwarder.state.routes import HIGH_WATER, RouteKey, RouteRow, RouteWriter

G = 0xEF010101
ROWS, RING = 6, 8
KEYS = [RouteKey(G + number) for number in range(7)] + [RouteKey(G, source=9), RouteKey(G, static=True)]


class Killed(Exception):
    """The writing process is gone."""


class Mortal:
    """The words of a segment, whose owner is killed before the store that would be one too many."""

    def __init__(self, words: memoryview) -> None:
        self.words, self.left = words, 1 << 60

    def __getitem__(self, at):
        return self.words[at]

    def __setitem__(self, at, value) -> None:
        if not self.left:
            raise Killed
        self.left -= 1
        self.words[at] = value


class Interrupted:
    """The words of a reader, in the middle of whose first look at the ring the writer goes on."""

    def __init__(self, words: memoryview, meanwhile: Callable[[], None]) -> None:
        self.words, self.meanwhile = words, meanwhile

    def __getitem__(self, at):
        if isinstance(at, int) and routes.HEADER <= at < routes.HEADER + RING:
            meanwhile, self.meanwhile = self.meanwhile, lambda: None
            meanwhile()
        return self.words[at]


@contextmanager
def ends(capacity: int = ROWS) -> Iterator[tuple[RouteWriter, RouteReader]]:
    fd = routes.create(capacity, 70, changes=RING)
    try:
        yield RouteWriter(fd), RouteReader(fd)
    finally:
        os.close(fd)


def test_a_ring_that_goes_round_while_it_is_read_hides_nothing():
    with ends() as (writer, reader):
        writer.set(KEYS[0], 1, "learned", 1)
        writer.set(KEYS[1], 1, "learned", 1)

        def meanwhile() -> None:
            for number in range(2 * RING):
                writer.set(KEYS[2], number, "learned", 1)

        reader._memory = Interrupted(reader._memory, meanwhile)  # type: ignore[assignment]
        told = dict(reader.changes())
        assert told.keys() == set(KEYS[:3]) or reader.pending
        while reader.pending:
            told.update(reader.changes())
        assert {key: row and row.ports for key, row in told.items()} == {KEYS[0]: 1, KEYS[1]: 1, KEYS[2]: 2 * RING - 1}


def test_keys_that_change_rows_in_the_middle_of_a_round_are_not_gone():
    """One row was looked at before, the other is looked at after they changed places."""
    with ends() as (writer, reader):
        for turn in range(2):
            for key in KEYS[:2]:
                writer.set(key, turn, "learned", 1)
            reader.changes(None if turn == 0 else 1)
        for key in KEYS[:2]:
            writer.delete(key)
        for key in KEYS[:2]:
            writer.set(key, 7, "learned", 1)
        told = []
        while reader.pending:
            told += reader.changes()
        assert all(row is not None for _, row in told)


class RoutesAgainstDict(RuleBasedStateMachine):
    """What the reader has been told is what the writer last said, whenever nothing is pending."""

    def __init__(self) -> None:
        super().__init__()
        self.fd = routes.create(ROWS, 70, changes=RING)
        self.raw = segment.Segment(self.fd, writable=True).words
        self.reader = RouteReader(self.fd)
        self.told: dict[RouteKey, int] = {}
        self.odd: list[int] = []
        self.start()

    def start(self) -> None:
        self.writer = RouteWriter(self.fd)
        self.said = {row.key: row.ports for row in self.writer.adopt() if row is not None}
        self.writer._memory = self.memory = Mortal(self.raw)  # type: ignore[assignment]

    def teardown(self) -> None:
        os.close(self.fd)

    def at(self, row: int) -> int:
        return routes.HEADER + RING + row * (routes.BITMAP + 2)

    @rule(key=st.sampled_from(KEYS), ports=st.integers(0, 2**70 - 1))
    def join(self, key, ports):
        self.close()
        if self.writer.set(key, ports, "static" if key.static else "learned", 1):
            self.said[key] = ports

    @rule(key=st.sampled_from(KEYS))
    def leave(self, key):
        self.close()
        self.writer.delete(key)
        self.said.pop(key, None)

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=2, max_size=3, unique=True))
    def leave_and_join_again(self, keys):
        """Two reports back to back: the rows come back in another order."""
        self.close()
        held = {key: self.said.pop(key) for key in keys if key in self.said}
        for key in held:
            self.writer.delete(key)
        for key, ports in held.items():
            assert self.writer.set(key, ports, "static" if key.static else "learned", 1)
            self.said[key] = ports

    @rule()
    def lap(self):
        """More changes than the ring holds, of which nothing remains."""
        self.close()
        key = RouteKey(G + 99)
        for _ in range(RING):
            if self.writer.set(key, 1, "learned", 1):
                self.writer.delete(key)

    @rule(row=st.integers(0, ROWS - 1))
    def be_caught_writing(self, row):
        """The reader comes by in the middle of a store: the row is odd, and goes on to be what it is."""
        if row < self.raw[HIGH_WATER] and not self.odd:
            self.raw[self.at(row)] ^= 1
            self.odd.append(row)

    def close(self) -> None:
        for row in self.odd:
            self.raw[self.at(row)] ^= 1
        self.odd.clear()

    @rule(key=st.sampled_from(KEYS), stores=st.integers(0, 16), deletes=st.booleans())
    def be_killed(self, key, stores, deletes):
        """The agent dies before any of its stores; its successor says again what its tables say."""
        self.close()
        self.memory.left = stores
        try:
            self.writer.delete(key) if deletes else self.writer.set(key, 5, "static" if key.static else "learned", 1)
        except Killed:
            pass
        self.said.pop(key, None)
        self.look(None)
        self.start()

    @rule(most=st.none() | st.integers(1, 3))
    def look(self, most):
        for key, row in self.reader.changes(most):
            if row is not None:
                self.told[key] = row.ports
                continue
            del self.told[key]
            assert self.odd or key not in self.said, "told to be gone, and it is there"

    @rule()
    def settle(self):
        self.close()
        while self.reader.pending:
            self.look(2)
        assert self.told == self.said

    @invariant()
    def a_key_that_stays_is_known(self):
        if not self.odd and not self.reader.pending:
            assert self.told == self.said


TestRoutesAgainstDict = RoutesAgainstDict.TestCase
TestRoutesAgainstDict.settings = settings(max_examples=1000, stateful_step_count=30, deadline=None)


def test_a_route_that_moved_is_not_gone_while_its_new_row_is_being_rewritten():
    """The agent is at the next join of the group; whoever looks now cannot read the row, but nor is the group gone."""
    fd = routes.create(8, 64)
    writer, reader = RouteWriter(fd), RouteReader(fd)
    key, other = RouteKey(0xEF010101), RouteKey(0xEF010102)
    writer.set(key, 1, "learned", 1)
    assert dict(reader.changes()) == {key: RouteRow(key, 1, "learned", 1)}
    writer.delete(key)
    writer.set(other, 1, "learned", 1)
    writer.set(key, 2, "learned", 1)
    version = writer.at(1)
    writer._memory[version] |= 1
    assert key not in [gone for gone, row in reader.changes() if row is None]
    assert reader.pending
    writer._memory[version] += 1
    assert dict(reader.changes())[key] == RouteRow(key, 2, "learned", 1)
    writer.delete(key)
    assert dict(reader.changes()) == {key: None}
    os.close(fd)


def test_a_key_that_was_in_doubt_and_found_again_is_gone_once_when_it_leaves():
    fd = routes.create(8, 64)
    writer, reader = RouteWriter(fd), RouteReader(fd)
    key, other = RouteKey(0xEF010101), RouteKey(0xEF010102)
    writer.set(key, 1, "learned", 1)
    writer.set(other, 1, "learned", 1)
    reader.changes()
    version = writer.at(1)

    def seen_while_the_other_is_written(ports: int) -> list[RouteKey]:
        writer.set(other, ports, "learned", 1)
        writer._memory[version] ^= 1
        changes = reader.changes()
        writer._memory[version] ^= 1
        return [each for each, row in changes if row is None]

    writer.delete(key)
    assert seen_while_the_other_is_written(2) == []
    writer.set(key, 2, "learned", 1)
    assert seen_while_the_other_is_written(3) == []
    writer.delete(key)
    gone = [each for each, row in reader.changes(1) if row is None]
    writer.set(other, 4, "learned", 1)  # more has changed when the round is over
    for _ in range(3):
        gone += [each for each, row in reader.changes() if row is None]
    assert gone == [key]
    os.close(fd)
