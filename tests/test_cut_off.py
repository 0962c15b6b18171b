"""What comes over the control channel when there is no descriptor left for it is asked for again."""

import asyncio
import os
import socket
from collections.abc import Mapping

import pytest
from lacking import only

from forwarder.api import supervisor
from forwarder.api.supervisor import SupervisorClient
from forwarder.process import control
from forwarder.state import worker_segment
from forwarder.state.worker_segment import WorkerReader


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_segments_for_which_the_api_has_no_descriptor_are_asked_for_again(left):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    segments = {f"worker-{number}": worker_segment.create(number, 4, 64) for number in range(2)}
    read: list[WorkerReader] = []

    def taken(lent: Mapping[str, int]) -> None:
        read[:] = [WorkerReader(fd) for fd in lent.values()]

    async def hear() -> None:
        client = SupervisorClient(ours, workers=taken)
        client.attach(asyncio.get_running_loop())
        before = len(os.listdir("/proc/self/fd"))
        assert control.send(theirs, {"type": "workers"}, segments)
        with only(left):
            client._receive()
        assert not read
        assert len(os.listdir("/proc/self/fd")) == before
        theirs.settimeout(10 * supervisor.AGAIN)
        asked = await asyncio.to_thread(control.receive, theirs)
        assert asked == ({"type": "again"}, {})
        assert control.send(theirs, {"type": "workers"}, segments)
        client._receive()
        assert len(read) == 2

    asyncio.run(hear())
    for each in (ours, theirs):
        each.close()
    for fd in segments.values():
        os.close(fd)
