"""How an agent succeeds another: the rows that stand are read before anything is said, a portion a turn.

What they say goes to the protocol, which takes it back when all ports are there (`igmp.restoration`). Until all rows
are known none may be written, since each key has one row.
"""

import asyncio
import itertools

from forwarder.agent.publisher import Publisher
from igmp.proxy import Proxy

PORTION = 512           # rows read in one turn: some 2 ms; a table of them that grows takes 10 ms at once


async def inherit(publisher: Publisher, proxy: Proxy) -> None:
    """Hand on what a predecessor's rows say, and of which groups it heard older hosts."""
    rows, hosts = publisher.inherited(), publisher.inherited_older()
    while portion := list(itertools.islice(rows, PORTION)):
        for row in filter(None, portion):
            proxy.inherit(row.key.group, row.key.source, row.ports)
        await asyncio.sleep(0)
    while some := list(itertools.islice(hosts, PORTION)):
        for port, older in filter(None, some):
            proxy.inherit_older(port, older)
        await asyncio.sleep(0)
