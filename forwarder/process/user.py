"""Who the children are: a user of their own where we may give them one, else whoever we are.

An agent that parses what comes from the network must not be uid 0, but a user that cannot read what a child runs would
leave no child alive. So it is tried before anything is changed: an interpreter becomes that user and does a child's
imports, which takes half a second of a processor and goes on beside our own imports.
"""

import os
import pwd
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass

from forwarder.process import launch, privileges

DEFAULT = "nobody"
PATIENCE = 30.0         # seconds for imports: as long as a child has to begin (supervisor/children.py)
GRACE = 1.0             # seconds that a process which is to end by itself may take longer
LONGEST_WORDS = 200     # of what an interpreter says that failed
MODULES = ("forwarder.dataplane.worker", "forwarder.agent.agent", "forwarder.api.__main__")
# It ends by itself: who started it may be gone by then, or may not kill a process of another user. It reads this file
# first: where our packages cannot be read, others of the same names may be found elsewhere.
TRIAL = """
import signal, sys
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]))
open(sys.argv[2]).close()
for each in sys.argv[3:]:
    __import__(each)
"""
NEEDED = {privileges.CAP_SETUID: "CAP_SETUID", privileges.CAP_SETGID: "CAP_SETGID"}


@dataclass(frozen=True, slots=True)
class User:
    """An entry of passwd(5): a user and its primary group."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Children:
    """Who the children are: `user`, or None for our own; then `reason` says why. `wanted`: they were to be another."""

    user: User | None
    reason: str | None = None
    wanted: bool = True

    @property
    def words(self) -> str:
        """One line for people."""
        if self.user is not None:
            return f"children run as {self.user.name} (uid {self.user.uid})"
        return f"children stay {name_of(os.getuid())} (uid {os.getuid()}), without capabilities: {self.reason}"


def find(name: str) -> User:
    """The user of that name; LookupError with words where there is none."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):      # ValueError: no name that a user could have
        raise LookupError(f"there is no user {name}") from None
    return User(name, entry.pw_uid, entry.pw_gid)


def name_of(uid: int) -> str:
    """The name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def problem(name: str | None) -> str | None:
    """What is wrong with a configured user, in words that follow its key; None where nothing is."""
    if not name:
        return None
    try:
        user = find(name)
    except LookupError:
        return "is no user of this system"
    return None if user.uid else "is uid 0, which children must not be; empty leaves them the user that starts mcfwd"


class Trial:
    """Whether children can be the user of a name (None: DEFAULT, empty: nobody else than we); begins at once."""

    def __init__(self, name: str | None, patience: float = PATIENCE, modules: tuple[str, ...] = MODULES) -> None:
        self._patience, self._wanted = patience, name != ""
        self._user: User | None = None
        self._popen: subprocess.Popen[bytes] | None = None
        self._reason = "[process] has an empty user" if name == "" else _missing()
        if not self._reason:
            self._begin(DEFAULT if name is None else name, modules)

    def __enter__(self) -> "Trial":
        return self

    def __exit__(self, *_: object) -> None:
        """End it, as far as we may."""
        if self._popen is not None and self._popen.poll() is None:
            with suppress(OSError):
                self._popen.kill()

    def _begin(self, name: str, modules: tuple[str, ...]) -> None:
        try:
            self._user = user = find(name)
            arguments = ["-c", TRIAL, str(self._patience), __file__, *modules]
            self._popen = launch.start(
                arguments, user=user.uid, group=user.gid, extra_groups=[], stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except LookupError as error:
            self._reason = str(error)
        except OSError as error:    # names another file, or none, where what comes before executing was refused
            executed = error.filename == sys.executable
            doing = f"executing {error.filename}" if executed else "becoming that user"
            self._reason = f"{doing} as {name} is refused ({error.strerror})"

    def result(self) -> Children:
        """What came of it; waits for `patience` and GRACE at most."""
        if self._popen is not None:
            self._reason = self._failure(self._popen)
        return Children(None if self._reason else self._user, self._reason or None, self._wanted)

    def _failure(self, popen: "subprocess.Popen[bytes]") -> str:
        """Why the interpreter did not end well; empty where it did."""
        assert self._user is not None
        name = self._user.name
        try:
            _, said = popen.communicate(timeout=self._patience + GRACE)
        except subprocess.TimeoutExpired:
            said = b""
        if popen.returncode in (None, -signal.SIGALRM):
            return f"the imports of a child take {name} longer than {self._patience:g} s"
        if popen.returncode == 0:
            return ""
        last = said.decode(errors="replace").strip().rpartition("\n")[2][:LONGEST_WORDS]
        return f"{name} cannot run what a child runs ({last or launch.describe(popen.returncode)})"


def _missing() -> str:
    """What we lack to become another user; empty where nothing is missing."""
    names = [name for capability, name in NEEDED.items() if not privileges.has_capability(capability)]
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} missing" if names else ""
