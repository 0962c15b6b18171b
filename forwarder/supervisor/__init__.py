"""The process that alone holds CAP_NET_RAW: it opens every socket, starts the children and keeps them alive.

It parses nothing that came from the network, speaks no protocol and moves no packet.
"""

from forwarder.supervisor.supervisor import run

__all__ = ["run"]
