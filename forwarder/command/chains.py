"""What `mcfwd why` shows people: a chain with ticks and crosses, and what to do at the first cross.

Text is never read as markup, and nothing in it does something to a terminal: words may be names of interfaces.
"""

from collections.abc import Iterator
from typing import Any

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from forwarder.client import NoAnswerError, understood
from forwarder.units import visible

Row = dict[str, Any]
TICK, CROSS, ARROW = "\u2713", "\u2717", "\u2192"
PLAIN = {TICK: "ok", CROSS: "NO", ARROW: "->"}      # where the terminal's character set lacks them
WHOLE = 4               # chains that are shown whole; of others a line says how they end
GOOD, BAD, CURE, HEAD = Style(color="green"), Style(color="red", bold=True), Style(bold=True), Style(bold=True)


def of(answer: Row, plain: bool = False) -> RenderableType:
    """The picture of an answer for a screen, which may be too low for all of it, or why there is none."""
    try:
        if "error" in answer:
            raise NoAnswerError(str(answer["error"]))
        with understood():
            return picture(answer, plain, verdict_first=True)
    except NoAnswerError as error:
        return Text("\n".join(map(visible, str(error).split("\n"))), style="red")


def picture(answer: Row, plain: bool = False, verdict_first: bool = False) -> RenderableType:
    """Of an answer of `GET /v1/why`; `plain`: in ASCII."""
    chains = answer.get("chains") or [answer]
    whole = [each for each in chains if _broken(each)][:WHOLE] or chains[:1]
    parts: list[RenderableType] = []
    for each in whole:
        parts += [Text("")] * bool(parts)
        lines: list[RenderableType] = [_chain(each["steps"], plain), _verdict(each)]
        parts += [Text(visible(_title(answer, each)), HEAD), *(reversed(lines) if verdict_first else lines)]
    rest = [each for each in chains if each not in whole]
    parts += [Text(visible(_line(each))) for each in rest]
    if answer.get("more"):
        parts.append(Text(f"and {int(answer['more'])} more interfaces"))
    return Group(*parts)


def _title(answer: Row, chain: Row) -> str:
    source = f" of {answer['source']}" if answer.get("source") else ""
    names = [answer.get("receiver"), chain.get("interface")]
    where = " on ".join(dict.fromkeys(str(name) for name in names if name))
    return f"{answer['group']}{source}" + (f" to {where}" if where else "")


def _chain(steps: list[Row], plain: bool) -> Table:
    table = Table.grid(padding=(0, 1))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column()
    told = False
    for step in steps:
        mark = TICK if step["ok"] else CROSS
        style = GOOD if step["ok"] else BAD
        table.add_row(Text(PLAIN[mark] if plain else mark, style), Text(visible(step["step"])), _words(step, style))
        if not step["ok"] and not told and step["remedy"]:
            told = True
            table.add_row("", Text(PLAIN[ARROW] if plain else ARROW, CURE, justify="right"),
                          Text(visible(step["remedy"]), CURE))  # fmt: skip
    return table


def _words(step: Row, style: Style) -> Text:
    return Text(visible(step["words"]), Style() if step["ok"] else style)


def _verdict(chain: Row) -> Text:
    broken = _broken(chain)
    if broken is None:
        return Text(f"It flows{_to(chain)}.", GOOD)
    return Text(visible(f"It does not flow{_to(chain)}: {broken['words']}."), BAD)


def _line(chain: Row) -> str:
    broken = _broken(chain)
    name = str(chain.get("interface"))
    return f"{name}: it flows" if broken is None else f"{name}: broken at {broken['step']}: {broken['words']}"


def _to(chain: Row) -> str:
    return f" to {visible(str(chain['interface']))}" if chain.get("interface") else ""


def _broken(chain: Row) -> Row | None:
    return next(_crosses(chain), None)


def _crosses(chain: Row) -> Iterator[Row]:
    return (step for step in chain["steps"] if not step["ok"])
