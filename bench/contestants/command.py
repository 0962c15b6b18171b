"""Any other forwarder, as a command line."""

import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.contestants.base import Program, process
from bench.peers.daemon import program
from forwarder.lab.topology import Lab


@dataclass(frozen=True)
class Command:
    """Any program: `{upstream}` and `{downstreams}` (separated by commas) are replaced in its command line.

    It runs in the router's namespace, and is taken as ready when the receivers' first datagrams come through.
    """

    name: str
    command: str
    exclusive: bool = True
    speaks_igmp: bool = True

    def obstacle(self, ports: int, groups: int) -> str:
        """Only that it is not there."""
        word = shlex.split(self.command)[0]
        return "" if program(word) else f"there is no program {word}"

    @contextmanager
    def start(self, lab: Lab, groups: Sequence[str]) -> Iterator[Program]:
        """The command with the lab's interfaces."""
        places = {"upstream": lab.upstream, "downstreams": ",".join(lab.downstreams)}
        argv = [word.format(**places) for word in shlex.split(self.command)]
        with tempfile.TemporaryDirectory() as directory, process(lab, argv, Path(directory, "log")) as pid:
            yield Program({self.name: pid})
