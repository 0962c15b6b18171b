"""Rules of the configuration that no other test's file is about."""

from forwarder.config.rules import LARGEST_SETTINGS, of_settings
from forwarder.state.settings import InterfaceSettings, Settings

UP = InterfaceSettings(name="up0", role="upstream")


def test_settings_that_no_snapshot_has_room_for_are_refused_by_the_key_that_is_too_long():
    lists = tuple(f"239.{at >> 8 & 255}.{at & 255}.0/24" for at in range(80_000))
    entry = InterfaceSettings(name="tap*", deny=lists, allow=("239.1.0.0/16",))
    problems = list(of_settings(Settings(interface=(UP, entry))))
    assert [key for key, _ in problems] == ["interface[1].deny"]
    assert str(LARGEST_SETTINGS) in problems[0][1]
    assert list(of_settings(Settings(interface=(UP, InterfaceSettings(name="tap*", deny=lists[:1500]))))) == []
