"""The API process: answers on the listening socket it is given, and shows every second that it lives."""

import asyncio
import socket
import time

import uvloop

from forwarder.api.agent import AgentClient
from forwarder.api.application import Application
from forwarder.api.segments import Segments
from forwarder.api.server import Server
from forwarder.api.supervisor import SupervisorClient
from forwarder.process import control
from forwarder.process.child import Start, bootstrap
from forwarder.state.segment import Segment

HEARTBEAT = 1.0


async def serve(start: Start) -> None:
    """Answer for as long as we listen, which is for ever.

    uvloop keeps servers of TCP alive, not those of Unix sockets: what nobody holds is closed by a garbage collection.
    """
    loop = asyncio.get_running_loop()
    agent = AgentClient(socket.socket(fileno=start.descriptors["agent"]))
    agent.attach(loop)
    segments = Segments(start.descriptors)
    supervisor = SupervisorClient(start.control, workers=segments.read_workers)
    supervisor.attach(loop)
    server = Server(Application(segments, agent, supervisor).handle)
    beat = Segment(start.descriptors["segment"], writable=True).words
    beat[0] = time.monotonic_ns()
    listening = await loop.create_unix_server(server, sock=socket.socket(fileno=start.descriptors["listener"]))
    control.send(start.control, {"type": "ready"})
    while listening.is_serving():
        beat[0] = time.monotonic_ns()
        segments.sample()
        server.sweep()
        await asyncio.sleep(HEARTBEAT)


if __name__ == "__main__":
    uvloop.run(serve(bootstrap("mcfwd-api")))
