"""The lab's pure parts: numbering, sealing, counting, pacing, judging."""

import dataclasses
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forwarder.lab import datagram, send
from forwarder.lab.capture import Frame, reported_groups
from forwarder.lab.numbering import Numbering, expand
from forwarder.lab.pace import Pace
from forwarder.lab.programs import _arguments
from forwarder.lab.tally import WINDOW, Tally
from forwarder.lab.topology import downstream_network
from forwarder.lab.verdict import Account, complaints, leave_delay


def sealed(sequences, streams=0, length=100):
    headers = datagram.new_headers(len(sequences))
    headers["sequence"], headers["stream"], headers["length"] = sequences, streams, length
    headers["time"] = 10**9
    datagram.seal(headers)
    return headers


@given(bit=st.integers(0, 8 * datagram.SIZE - 1), sequence=st.integers(0, 2**64 - 1))
def test_any_altered_bit_of_a_header_shows(bit, sequence):
    headers = sealed([sequence])
    assert datagram.intact(headers, np.array([100])).all()
    headers.view(np.uint8)[bit // 8] ^= 1 << bit % 8
    assert not datagram.intact(headers, np.array([100])).any()


def test_a_shortened_datagram_shows():
    assert not datagram.intact(sealed([1]), np.array([99])).any()


@given(sequence=st.integers(0, 2**40))
def test_the_rest_of_a_datagram_follows_from_its_sequence(sequence):
    offset = int(datagram.pattern_offset(np.array([sequence], np.uint64))[0])
    assert datagram.rest(sequence, 1316) == datagram.PATTERN[offset : offset + 1316 - 32]
    assert datagram.rest(sequence, 1316) != datagram.rest(sequence + 1, 1316)
    assert len(datagram.rest(sequence, datagram.LARGEST)) == datagram.LARGEST - 32


def test_the_pattern_is_the_same_everywhere():
    assert datagram.PATTERN[:8].hex() == struct.pack("<Q", np.random.PCG64(3918).random_raw()).hex()


@given(
    streams=st.integers(1, 5), segments=st.integers(1, 4), messages=st.integers(1, 40), split=st.integers(0, 40)
)
def test_numbering_has_no_gaps_wherever_it_is_cut(streams, segments, messages, split):
    numbering = Numbering(streams, segments, 100, 200)
    seen = {stream: [] for stream in range(streams)}
    cut = min(split, messages)
    for first, count in ((0, cut), (cut, messages - cut)):
        rows = np.repeat(numbering.streams(first * segments, count), segments)
        for stream, sequence in zip(rows, numbering.sequences(first * segments, count * segments), strict=True):
            seen[int(stream)].append(int(sequence))
    assert all(sequences == list(range(len(sequences))) for sequences in seen.values())
    assert numbering.sent(messages * segments) == [len(sequences) for sequences in seen.values()]
    lengths = numbering.lengths(0, 500)
    assert lengths.min() >= 100
    assert lengths.max() <= 200


def test_expand_counts_groups_on():
    assert expand(["239.1.1.255"], 3) == ["239.1.1.255", "239.1.2.0", "239.1.2.1"]
    assert expand(["239.1.1.1", "239.1.1.9"], 3) == ["239.1.1.1", "239.1.1.9"]


def reference_tally(sequences):
    """Ten lines that a reader can check: distinct, lost, duplicated, reordered."""
    seen, duplicated, reordered = set(), 0, 0
    for sequence in sequences:
        if sequence in seen:
            duplicated += 1
        else:
            reordered += bool(seen) and sequence < max(seen)
            seen.add(sequence)
    return len(seen), max(seen) - min(seen) + 1 - len(seen), duplicated, reordered


arrivals = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=120)


@given(arrivals=arrivals, batch=st.integers(1, 50))
def test_the_tally_agrees_with_the_reference_however_datagrams_are_batched(arrivals, batch):
    tally = Tally()
    for at in range(0, len(arrivals), batch):
        streams, sequences = zip(*arrivals[at : at + batch], strict=True)
        headers = sealed(sequences, streams)
        tally.add(headers, np.zeros(len(headers), np.bool_), np.arange(len(headers)))
    for row in tally.streams():
        expected = reference_tally([sequence for stream, sequence in arrivals if stream == row.stream])
        assert (row.received, row.lost, row.duplicated, row.reordered) == expected
    assert {row.stream for row in tally.streams()} == {stream for stream, _ in arrivals}


@given(start=st.integers(0, 10**6), count=st.integers(1, 3 * WINDOW), missing=st.sets(st.integers(1, WINDOW)))
def test_gaps_are_lost_datagrams(start, count, missing):
    sequences = np.array([start + n for n in range(count) if n not in missing], np.uint64)
    tally = Tally()
    for part in np.array_split(sequences, 3):
        tally.add(sealed(part), np.zeros(len(part), np.bool_), np.zeros(len(part), np.int64))
    [row] = tally.streams()
    inner = [n for n in missing if n < int(sequences[-1]) - start]
    assert (row.received, row.lost, row.duplicated, row.reordered) == (len(sequences), len(inner), 0, 0)
    assert row.bytes == 100 * len(sequences)


def test_the_tally_keeps_times_and_alterations_by_stream():
    tally = Tally()
    headers = sealed([0, 0, 1], [5, 9, 5])
    tally.add(headers, np.array([False, True, False]), np.array([10, 20, 30]) * 10**9)
    five, nine = tally.streams()
    assert (five.stream, five.first, five.last, five.altered) == (5, 10.0, 30.0, 0)
    assert (nine.stream, nine.first, nine.last, nine.altered) == (9, 20.0, 20.0, 1)
    assert five.last_sent == 1.0


@given(
    rate=st.floats(1, 1e6), looks=st.lists(st.floats(0.0001, 0.01), min_size=1, max_size=50), burst=st.integers(1, 999)
)
def test_pacing_never_runs_ahead_and_never_gives_more_than_a_burst(rate, looks, burst):
    pace, now, sent = Pace(rate), 0.0, 0
    pace.start(now)
    for look in looks:
        due = pace.due(now, burst)
        assert 0 <= due <= burst
        pace.sent(due)
        sent += due
        assert sent <= now * rate + 1.000001
        now += look


def test_pacing_waits_until_the_next_and_gives_up_what_is_too_old():
    pace = Pace(10.0, catch_up=0.5)
    pace.start(0.0)
    assert pace.due(0.0, 100) == 1
    pace.sent(1)
    assert pace.wait(0.05) == pytest.approx(0.05)
    assert pace.due(0.35, 100) == 3
    assert pace.due(1000.0, 2) == 2
    pace.sent(2)
    assert pace.due(1000.0, 100) <= 1


def test_no_rate_means_no_waiting():
    pace = Pace(0.0)
    pace.start(0.0)
    assert (pace.due(0.0, 64), pace.wait(0.0)) == (64, 0.0)


def test_the_command_line_of_a_sender_says_all_its_options():
    options = send.Options(
        "eth9", ["239.1.1.1", "239.1.1.2"], port=6000, rate=5.5, df=True, size=500, largest=900, bind="10.0.0.1"
    )
    assert send.parse(_arguments(options)) == options
    assert send.parse(_arguments(dataclasses.replace(options, largest=0, segments=4))).segments == 4


@pytest.mark.parametrize("words", [["--size", "31"], ["--largest", "65508"], ["--segments", "2", "--largest", "2000"]])
def test_impossible_sizes_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        send.parse(["--interface", "eth0", "--group", "239.1.1.1", *words])


def igmp_frame(message):
    packet = struct.pack("!BBHHHBBH4s4s4x", 0x46, 0, 24 + len(message), 0, 0, 1, 2, 0, bytes(4), bytes(4)) + message
    return Frame(0.0, False, bytes(14) + packet + bytes(20), packet + bytes(20))


def test_reported_groups_of_every_version():
    group, other = bytes((239, 1, 1, 1)), bytes((232, 1, 1, 1))
    first = struct.pack("!BBH4s4s4s", 5, 1, 1, other, bytes(4), bytes(4))  # one source, one auxiliary word
    second = struct.pack("!BBH4s", 4, 0, 0, group)
    report = struct.pack("!BBHHH", 0x22, 0, 0, 0, 2) + first + second
    assert reported_groups(igmp_frame(report)) == ["232.1.1.1", "239.1.1.1"]
    assert reported_groups(igmp_frame(bytes((0x16, 0, 0, 0)) + group)) == ["239.1.1.1"]
    assert reported_groups(igmp_frame(bytes((0x11, 0, 0, 0)) + group)) == []


def test_every_downstream_of_a_big_lab_has_a_network_of_its_own():
    networks = [downstream_network(number) for number in range(64)]
    assert networks[:2] == ["192.168.10", "192.168.20"]
    assert len(set(networks)) == 64
    assert all(int(part) < 256 for network in networks for part in network.split("."))


GOOD = Account(
    joined=10.0, left=20.0, first=10.1, received=5, lost=0, duplicated=0, altered=0,
    frames=[(10.1, "239.1.1.1"), (20.5, "239.1.1.1")], group="239.1.1.1", reported_upstream=True,
)


def test_the_verdict_on_a_good_run_is_silent():
    assert complaints(GOOD) == []
    assert leave_delay(GOOD) == 0.5


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"first": None}, "never"),
        ({"first": 12.0}, "after the join"),
        ({"lost": 1}, "lost"),
        ({"duplicated": 1}, "duplicated"),
        ({"altered": 1}, "altered"),
        ({"frames": [(9.0, "239.1.1.1")]}, "before the join"),
        ({"frames": [(24.0, "239.1.1.1")]}, "after the leave"),
        ({"frames": [(11.0, "239.2.2.2")]}, "nobody here joined"),
        ({"reported_upstream": False}, "upstream"),
    ],
)
def test_the_verdict_names_every_fault(change, word):
    [complaint] = complaints(dataclasses.replace(GOOD, **change))
    assert word in complaint
