"""Where an instance listens, and how a command asks it: HTTP over a Unix socket.

Kept light, since every `mcfwd show` starts here. `run` and the clients search the same places in the same order.
"""

import errno
import itertools
import json
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlencode

from forwarder import others

SYSTEM_SOCKET = "/run/mcfwd/mcfwd.sock"
TIMEOUT = 5.0           # seconds; the instance answers for a silent agent after 2
RELOAD_TIMEOUT = 15.0   # seconds; for a reload that takes too long after 14
PAGED = frozenset(("flows", "groups", "hosts", "refusals", "upstream"))
PAGE = 10_000           # rows asked for at once, the most flows that there are in an answer
LONGEST_QUESTION = 3900     # octets; an instance reads lines of 4096 at most
MOST_OCTETS = 1 << 28   # of an answer: several times what a million members take
LONGEST_TOTAL = 18      # digits
TOTAL, FOLLOWED = "X-Total-Count", "X-Followed"

Parameters = Sequence[tuple[str, str]]


class NoAnswerError(Exception):
    """No instance answers; the text says which sockets were tried."""


@contextmanager
def understood() -> Iterator[None]:
    """What is made of an answer meanwhile; NoAnswerError where that cannot be done with it, as of another version."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise NoAnswerError("the instance gives an answer that this mcfwd does not understand "
                            f"({type(error).__name__}); it may be of another version: restart it") from error


class RequestError(Exception):
    """An instance answered that it will not; the text says why, `status` is HTTP's.

    `operation`: the number of the one of a batch that was refused, from 1.
    """

    def __init__(self, words: str, status: int = 0, operation: int | None = None) -> None:
        super().__init__(words)
        self.status, self.operation = status, operation


def socket_candidates(environment: Mapping[str, str], uid: int, system: str = SYSTEM_SOCKET) -> list[str]:
    """The sockets to look for, first choice first."""
    named = environment.get("MCFWD_SOCKET")
    if named:
        return [named]
    runtime = environment.get("XDG_RUNTIME_DIR")
    temporary = os.path.join(environment.get("TMPDIR") or "/tmp", f"mcfwd-{uid}.sock")
    return [system, *([os.path.join(runtime, "mcfwd.sock")] if runtime else []), temporary]


def default_socket_path(
    environment: Mapping[str, str] | None = None, uid: int | None = None, system: str = SYSTEM_SOCKET
) -> str:
    """Where to listen when nothing else was said: the first candidate that this user may create."""
    chosen = os.environ if environment is None else environment
    candidates = socket_candidates(chosen, os.getuid() if uid is None else uid, system)
    return next((path for path in candidates[:-1] if _may_create(path)), candidates[-1])


def _may_create(path: str) -> bool:
    """Whether the folder of `path` can be written to, or made by its parent."""
    folder = os.path.dirname(path)
    existing = folder if os.path.isdir(folder) else os.path.dirname(folder)
    return os.access(existing, os.W_OK | os.X_OK)


class Client:
    """A connection to an instance, opened by the first question."""

    def __init__(self, path: str | None = None, timeout: float = TIMEOUT) -> None:
        """`path` None searches the usual places, and for root the instances of other users last."""
        self._paths = [path] if path else socket_candidates(os.environ, os.getuid())
        self._searched = len(self._paths) > 1
        self._timeout = timeout
        self._other: int | None = None      # the user whose instance is asked, where it is not ours
        self._said: int | None = None   # of how many rows the last page was
        self.total: int | None = None
        """Of how many rows the last answer has some; None where it was no list."""

    def get(self, noun: str, limit: int | None = None, worst: bool = False, filters: Parameters = ()) -> Any:
        """The decoded answer of `GET /v1/<noun>`, all pages of it or `limit` rows; NoAnswerError or RequestError.

        `worst`: flows that are kept from somebody first. `filters`: what else the question says, such as
        ("group", "239.1.2.3"); what the instance does not follow is a RequestError.
        """
        if noun in PAGED:
            order = [("order", "worst")] if worst and noun == "flows" else []
            return self._pages(noun, limit, [*filters, *order])
        bounds = [("limit", str(limit))] if filters and limit is not None else []
        answer = self._ask(_target(noun, [*filters, *bounds]), follow=filters)
        if not isinstance(answer, list):
            self.total = None
            return answer
        self.total = max(self._said or 0, len(answer))
        return answer[:limit]

    def get_answer(self, noun: str, limit: int | None = None, worst: bool = False, filters: Parameters = ()) -> Any:
        """As `get`, but a silent agent raises NoAnswerError."""
        answer = self.get(noun, limit, worst, filters)
        check_agent(answer)
        return answer

    def why(self, group: str, receiver: str | None, source: str | None) -> dict[str, Any]:
        """Why a group does not arrive, as `GET /v1/why` says it; NoAnswerError or RequestError."""
        asked = {"group": group, "receiver": receiver, "source": source}
        said = urlencode({name: text for name, text in asked.items() if text is not None}, errors="backslashreplace")
        answer = self._ask(f"/v1/why?{said}")
        with understood():
            for step in answer["steps"]:
                if not isinstance(step["ok"], bool):
                    raise TypeError
            return dict(answer)

    def change(self, method: str, noun: str, body: Any) -> dict[str, Any]:
        """The object that POST or DELETE of `/v1/<noun>` answers with; raises NoAnswerError or RequestError."""
        answer = self._ask(f"/v1/{noun}", method, body)
        return answer if isinstance(answer, dict) else {}

    def order(self, noun: str, body: Any) -> Any:
        """Have "query" or "clear" carried out; what came of it on each interface; NoAnswerError or RequestError."""
        rows = self._ask(f"/v1/{noun}", "POST", body)
        _check_rows(rows)
        return rows

    def _pages(self, noun: str, limit: int | None, parameters: Parameters) -> list[Any] | None:
        """Page after page; a page has less than was asked for where rows were being replaced. None: a silent agent.

        An instance of before there were pages of this noun gives all at once, and no number.
        """
        rows: list[Any] = []
        for offset in itertools.count(0, PAGE):
            size = PAGE if limit is None else min(PAGE, limit - offset)
            bounds = [("offset", str(offset)), ("limit", str(size))]
            page = self._ask(_target(noun, [*bounds, *parameters]), follow=parameters)
            if page is None and not offset and noun != "flows":
                return None
            _check_rows(page)
            rows += page
            more = offset + size < (self._said or 0)
            if not (page and more) or offset + size == limit:
                break
        self.total = max(self._said or 0, len(rows))
        return rows[:limit]

    def _ask(self, target: str, method: str = "GET", body: Any = None, follow: Parameters = ()) -> Any:
        """What is answered; RequestError where the answer does not follow what the target says."""
        timeout = RELOAD_TIMEOUT if target.endswith("/reload") else self._timeout
        connection = UnixConnection(self._connect(), timeout)
        try:
            connection.request(method, target, None if body is None else json.dumps(body))
            response = connection.getresponse()
            with understood():
                status, answer = response.status, _decoded(response.read(MOST_OCTETS + 1))
                answer = answer if self._other is None else others.printable(answer)
            said, followed = response.getheader(TOTAL, ""), response.getheader(FOLLOWED, "")
        except (OSError, HTTPException, ValueError) as error:
            # what waits in the socket of one who stands still, or is being replaced, is read when it goes on
            after = "" if method == "GET" else "; what was asked may still happen"
            said = f"no answer from the instance at {connection.path}: {_words(error)}{after}"
            raise NoAnswerError(said) from error
        finally:
            connection.close()
        if status not in (200, 201):
            said_more = answer if isinstance(answer, dict) else {"error": f"HTTP status {status}"}
            operation = said_more.get("operation")
            raise RequestError(str(said_more.get("error", status)), status,
                               operation if isinstance(operation, int) else None)  # fmt: skip
        if unknown := {name for name, _ in follow} - set(followed.split(", ")):
            raise RequestError(f"the instance cannot choose or order rows by {', '.join(sorted(unknown))}, so it gave "
                                "others than were asked for; it is of another version: restart it")
        self._said = int(said) if said.isdecimal() and len(said) <= LONGEST_TOTAL else None
        return answer

    def _connect(self) -> socket.socket:
        tried = []
        for path in self._paths:
            try:
                if self._searched:
                    _refuse_foreign(path)
                return _open(path, self._timeout)
            except OSError as error:
                tried.append(f"{path} ({_words(error)})")
        other = self._connect_other() if self._searched and os.getuid() == 0 else None
        if other is None:
            raise NoAnswerError(f"no instance answers; tried {', '.join(tried)}")
        return other

    def _connect_other(self) -> socket.socket | None:
        """The one instance of another user, if there is one; of several, one has to be named."""
        connected = others.connected(others.sockets(os.path.dirname(self._paths[-1])), self._timeout)
        if len(connected) == 1:
            uid, path, connection = connected[0]
            if self._other is None:
                print(f"mcfwd: this is the instance of user {uid} at {path}", file=sys.stderr)
            self._other = uid
            return connection
        for *_, connection in connected:
            connection.close()
        if connected:
            paths = ", ".join(path for _, path, _ in connected)
            raise NoAnswerError(f"several users run an instance; name one with --socket: {paths}")
        return None


def _target(noun: str, parameters: Parameters) -> str:
    target = f"/v1/{noun}{'?' if parameters else ''}{urlencode(parameters)}"
    if len(target) > LONGEST_QUESTION:
        raise RequestError("so much cannot be asked for at once: use networks and wildcards")
    return target


def check_agent(answer: Any) -> None:
    """Raise NoAnswerError for the null that stands for an agent that did not answer in time."""
    if answer is None:
        raise NoAnswerError("the agent does not answer; what only it knows cannot be shown now")


def _check_rows(answer: Any) -> None:
    """Raise NoAnswerError for what is no list of objects."""
    check_agent(answer)
    with understood():
        if not (isinstance(answer, list) and all(isinstance(row, dict) for row in answer)):
            raise TypeError


def _decoded(octets: bytes) -> Any:
    if len(octets) > MOST_OCTETS:
        raise OSError(errno.EFBIG, f"its answer is larger than {MOST_OCTETS >> 20} MiB")
    try:
        return json.loads(octets)
    except ValueError as error:     # no JSON at all: whatever answers is no instance
        raise HTTPException(str(error)) from error


def _refuse_foreign(path: str) -> None:
    """Raise PermissionError where anybody may put a socket and another user did: its answers could be anything."""
    anybody = os.stat(os.path.dirname(path)).st_mode & stat.S_IWOTH
    if anybody and os.stat(path).st_uid not in (0, os.getuid()):
        raise PermissionError(errno.EPERM, "belongs to another user")


def _open(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(others.printable(str(error))) or type(error).__name__    # it may be what the other side said


class _Hurried(socket.socket):
    """A connected socket from which all must have come in twice `timeout`: octet by octet it could go on for ever.

    Twice, since an instance is to have ended its answer after the first (api/server.py).
    """

    def __init__(self, connected: socket.socket, timeout: float) -> None:
        super().__init__(fileno=connected.detach())
        self.settimeout(timeout)
        self._until = time.monotonic() + 2 * timeout

    def recv_into(self, *arguments: Any) -> int:
        """As ever; TimeoutError where that was too long."""
        if time.monotonic() > self._until:
            raise TimeoutError
        return super().recv_into(*arguments)


class UnixConnection(HTTPConnection):
    """HTTP over an already connected socket."""

    def __init__(self, connected: socket.socket, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path: str = connected.getpeername()
        self.sock = _Hurried(connected, timeout)
