"""A reload is read beside everything else and taken over when it is there; who asks meanwhile asks for another."""

import selectors

import pytest
from readings import Read

from forwarder import client
from forwarder.api import supervisor
from forwarder.config.files import ConfigurationError
from forwarder.state.settings import Settings
from forwarder.supervisor.changes import Cause, ChangeError
from forwarder.supervisor.reloads import PATIENCE, Reloads

SETTINGS = Settings()


class Office:
    """Takes over whatever was read; `outcome` is what comes of it."""

    def __init__(self) -> None:
        self.now, self.readings, self.told, self.faults = 100.0, [], [], []
        self.refusal: Exception | None = None       # of beginning to read
        self.problem: Exception | None = None       # of what was read
        self.outcome: Exception | list[str] = []
        self.selector = selectors.DefaultSelector()
        self.reloads = Reloads(self.begin, self.take_over, lambda *fault: self.faults.append(fault), self.selector,
                               lambda: self.now)  # fmt: skip

    def begin(self) -> Read:
        if self.refusal:
            raise self.refusal
        self.readings.append(Read(self.load, finished=False))
        return self.readings[-1]

    def load(self) -> Settings:
        if self.problem:
            raise self.problem
        return SETTINGS

    def take_over(self, settings: Settings) -> list[str]:
        assert settings is SETTINGS
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def ask(self, name: str) -> None:
        self.reloads.ask(lambda answer: self.told.append((name, answer)))

    def turn(self) -> None:
        for key, _ in self.selector.select(0.0):
            key.data[1]()
        self.reloads.turn()

    def finish(self) -> list:
        self.readings[-1].finish()
        self.turn()
        told, self.told = self.told, []
        return told


@pytest.fixture
def office():
    made = Office()
    yield made
    made.reloads.close()
    made.selector.close()


def test_nothing_waits_for_what_is_being_read(office):
    office.ask("one")
    office.turn()
    assert office.told == []
    assert office.finish() == [("one", {"ignored": []})]
    assert office.readings[0].closed
    assert not office.reloads.under_way


def test_who_asks_meanwhile_has_the_next_one_together(office):
    for name in ("one", "two", "three"):
        office.ask(name)
    assert len(office.readings) == 1
    office.outcome = ["dataplane.workers"]
    assert office.finish() == [("one", {"ignored": ["dataplane.workers"]})]
    office.outcome = []
    assert office.finish() == [("two", {"ignored": []}), ("three", {"ignored": []})]
    assert len(office.readings) == 2


@pytest.mark.parametrize(("where", "error", "cause", "words"), [
    ("refusal", ConfigurationError("a: is missing"), Cause.CONFIGURATION, "a: is missing"),
    ("refusal", OSError(11, "no process"), Cause.CONFIGURATION, "[Errno 11] no process"),
    ("problem", ConfigurationError("b: is odd"), Cause.CONFIGURATION, "b: is odd"),
    ("problem", ValueError("no JSON"), Cause.CONFIGURATION, "no JSON"),
    ("outcome", ChangeError(Cause.FULL, "too much"), Cause.FULL, "too much"),
    ("outcome", RuntimeError("ours"), Cause.FAULT, "internal error: RuntimeError"),
])  # fmt: skip
def test_what_goes_wrong_is_answered_and_the_next_one_goes_on(office, caplog, where, error, cause, words):
    setattr(office, where, error)
    office.ask("one")
    told = office.told if where == "refusal" else office.finish()
    assert told == [("one", {"refusal": cause.value, "words": words})]
    assert caplog.messages == [f"reload refused, the running configuration stays: {words}"]
    assert len(office.faults) == (cause is Cause.FAULT)
    office.told, office.refusal, office.problem, office.outcome = [], None, None, []
    office.ask("two")
    assert office.finish() == [("two", {"ignored": []})]


def test_a_selector_without_room_for_it_is_a_refusal(office):
    def no_room(*_) -> None:
        raise OSError(12, "Cannot allocate memory")

    office.selector.register, register = no_room, office.selector.register
    office.ask("one")
    assert office.told == [("one", {"refusal": "configuration", "words": "[Errno 12] Cannot allocate memory"})]
    assert office.readings[0].closed
    office.selector.register, office.told = register, []
    office.ask("two")
    assert office.finish() == [("two", {"ignored": []})]


def test_what_takes_too_long_is_given_up(office):
    assert PATIENCE + 2.0 < supervisor.RELOAD_TIMEOUT < client.RELOAD_TIMEOUT   # whoever asks is told
    office.ask("one")
    office.now += PATIENCE - 0.1
    office.turn()
    assert not office.readings[0].killed
    office.problem = ConfigurationError("it was killed")
    office.now += 0.1
    office.turn()
    assert office.readings[0].killed
    office.turn()
    assert office.told == [("one", {"refusal": "configuration", "words": "it was not understood within 10 s"})]


def test_at_the_end_what_is_under_way_is_let_go(office):
    office.ask("one")
    office.reloads.close()
    assert office.readings[0].closed
    assert office.told == []


def test_what_has_steps_to_take_is_taken_over_after_the_last():
    """As files do that include others, which are read while all go on."""
    office = Office()
    office.ask("a")
    office.readings[0].steps = 3
    office.readings[0].finish()
    for told in ([], [], [("a", {"ignored": []})]):
        office.turn()
        assert office.told == told
    assert office.readings[0].closed
