"""What a running instance is told to do: reload, query, clear, and static routes and groups."""

from typing import Annotated, Any

import typer

from forwarder.command.options import Interface, Socket, ask, asking
from forwarder.endings import EXIT_FAILED, fail

Group = Annotated[str, typer.Argument(metavar="GROUP", help="A group, or of routes a network of groups.")]
Source = Annotated[str | None, typer.Option("--source", metavar="S", help="Only from this source.")]
Upstream = Annotated[    # as in the file and in JSON; --from and --to are what the two were called before
    str | None, typer.Option("--upstream", "--from", metavar="IF", help="Only where it comes in by this interface.")
]
Interfaces = Annotated[
    list[str] | None,
    typer.Option("--interfaces", "--to", metavar="IF", help="Where it goes; may be repeated. Without: blocked."),
]


def reload(socket: Socket = None) -> None:
    """Have a running instance read its configuration again.

    What did not change is not touched. What needs a restart is said, and the exit status is 1 then.
    """
    answer = ask("POST", "reload", {}, socket)
    if ignored := answer.get("ignored"):
        fail(f"reloaded, but not {', '.join(ignored)}: fixed at start; needs a restart")


def query(
    interface: Annotated[str | None, typer.Argument(metavar="IF", help="Only there; a wildcard in quotes.")] = None,
    socket: Socket = None,
) -> None:
    """Ask at once on downstream interfaces what is wanted there."""
    _order("query", {"interface": interface}, socket)


def clear(
    interface: Interface,
    group: Annotated[str | None, typer.Argument(metavar="GROUP", help="Only this group.")] = None,
    socket: Socket = None,
) -> None:
    """Forget who wants groups on a downstream interface, and ask.

    What is configured stays.
    """
    _order("clear", {"interface": interface, "group": group}, socket)


def add_route(
    group: Group, source: Source = None, upstream: Upstream = None, interfaces: Interfaces = None, socket: Socket = None
) -> None:
    """Forward a group to interfaces, whoever has joined.

    Without interfaces it is blocked. That lasts until it is deleted or the instance ends. A route that was added gets
    more interfaces.
    """
    ask("POST", "routes", _route(group, source, upstream, interfaces), socket)


def replace_route(
    group: Group, source: Source = None, upstream: Upstream = None, interfaces: Interfaces = None, socket: Socket = None
) -> None:
    """Forward a group to other interfaces than before.

    Those that stay lose nothing. A route that there is not is added.
    """
    ask("PUT", "routes", _route(group, source, upstream, interfaces), socket)


def delete_route(
    group: Group, source: Source = None, upstream: Upstream = None, interfaces: Interfaces = None, socket: Socket = None
) -> None:
    """Take back what `route add` did."""
    ask("DELETE", "routes", _route(group, source, upstream, interfaces), socket)


def _route(group: str, source: str | None, upstream: str | None, to: list[str] | None) -> dict[str, object]:
    return {"group": group, "source": source, "upstream": upstream, "interfaces": to or []}


def add_group(interface: Interface, group: Group, source: Source = None, socket: Socket = None) -> None:
    """Want a group on an interface without a receiver.

    That lasts until it is deleted or the instance ends.
    """
    ask("POST", "groups", {"interface": interface, "group": group, "source": source}, socket)


def delete_group(interface: Interface, group: Group, source: Source = None, socket: Socket = None) -> None:
    """Take back what `group add` did."""
    ask("DELETE", "groups", {"interface": interface, "group": group, "source": source}, socket)


def _order(noun: str, body: dict[str, object], socket: str | None) -> None:
    """Have it done on interfaces, and say what came of it; exit status 1 where none was asked."""
    from forwarder.client import Client, understood

    def done() -> tuple[list[str], bool]:
        rows = Client(socket).order(noun, body)
        with understood():
            return [_outcome(row, noun) for row in rows], any(row["asked"] for row in rows)

    lines, asked = asking(done)
    print(*lines, sep="\n", end="\n" if lines else "")
    if not asked:
        raise SystemExit(EXIT_FAILED)


def _outcome(row: dict[str, Any], noun: str) -> str:
    """What came of an order on an interface."""
    told = "asked" if row["asked"] else f"not asked, {row['querier'] or 'nobody'} is the querier there"
    many = f"{row['forgotten']} group{'s'[: row['forgotten'] != 1]}"
    return f"{row['interface']}: {told}" + (f"; {many} forgotten" if noun == "clear" else "")
