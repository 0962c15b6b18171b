import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.ordering import ordered

SAMPLE = [
    {"at": number, "address": text, "count": count, "names": names, "drops": drops}
    for number, (text, count, names, drops) in enumerate([
        ("239.1.2.30", 7, ["eth10", "eth2"], {"mtu": 3, "ttl": 0}),
        ("239.1.2.4", None, [], {}),
        ("239.0.0.0/8", 2, ["eth1"], {"mtu": 1}),
        (None, 7.5, ["eth1", "eth2"], {"eth1": {"mtu": 2, "ttl": 3}}),
    ])
]  # fmt: skip


@pytest.mark.parametrize(("key", "up", "down"), [
    ("at", [0, 1, 2, 3], [3, 2, 1, 0]),
    ("address", [2, 1, 0, 3], [0, 1, 2, 3]),
    ("count", [2, 0, 3, 1], [3, 0, 2, 1]),
    ("names", [1, 2, 3, 0], [0, 3, 2, 1]),
    ("drops", [1, 2, 0, 3], [3, 0, 2, 1]),
])  # fmt: skip
def test_values_are_ordered_by_what_they_are_and_what_is_none_is_last(key, up, down):
    assert [row["at"] for row in ordered(SAMPLE, key)] == up
    assert [row["at"] for row in ordered(SAMPLE, key, descending=True)] == down


def test_sources_with_their_times_are_ordered_by_address():
    rows = [{"sources": [{"address": address, "expires": None}]} for address in ("10.0.0.10", "9.0.0.1", "10.0.0.9")]
    assert [row["sources"][0]["address"] for row in ordered(rows, "sources")] == ["9.0.0.1", "10.0.0.9", "10.0.0.10"]


def test_a_key_that_no_row_has_is_an_error():
    with pytest.raises(KeyError):
        ordered([{"a": 1}], "b")


@given(st.lists(st.text()))
def test_any_texts_have_an_order_and_none_is_lost(texts):
    rows = [{"text": text} for text in texts]
    up = ordered(rows, "text")
    assert sorted(row["text"] for row in up) == sorted(texts)
    assert ordered(up, "text") == up
