"""What `mcfwd why` shows people: a chain with ticks and crosses, and what to do at the first cross.

Text is never read as markup, and nothing in it does something to a terminal: words may be names of interfaces.
"""

from collections.abc import Iterator
from textwrap import wrap
from typing import Any

from rich.console import Group, RenderableType
from rich.style import Style
from rich.text import Text

from forwarder.client import NoAnswerError, understood
from forwarder.units import visible

Row = dict[str, Any]
TICK, CROSS, ARROW = "\u2713", "\u2717", "\u2192"
PLAIN = {TICK: "ok", CROSS: "NO", ARROW: "->"}      # where the terminal's character set lacks them
NARROWEST = 20          # columns for words, however narrow the terminal is
WHOLE = 4               # chains that are shown whole; of others a line says how they end
GOOD, BAD, CURE, HEAD = Style(color="green"), Style(color="red", bold=True), Style(bold=True), Style(bold=True)


def of(answer: Row, width: int, plain: bool = False) -> RenderableType:
    """The picture of an answer for a screen, which may be too low for all of it, or why there is none."""
    try:
        if "error" in answer:
            raise NoAnswerError(str(answer["error"]))
        with understood():
            return picture(answer, width, plain, verdict_first=True)
    except NoAnswerError as error:
        return Text("\n".join(map(visible, str(error).split("\n"))), style="red")


def picture(answer: Row, width: int, plain: bool = False, verdict_first: bool = False) -> RenderableType:
    """Of an answer of `GET /v1/why`, in lines of `width` columns; `plain`: in ASCII."""
    chains = answer.get("chains") or [answer]
    whole = [each for each in chains if _broken(each)][:WHOLE] or chains[:1]
    parts: list[RenderableType] = []
    for each in whole:
        parts += [Text("")] * bool(parts)
        title, steps = Text(visible(_title(answer, each)), HEAD), _chain(each["steps"], width, plain)
        verdict = _verdict(each)
        parts += [title, verdict, *steps] if verdict_first else [title, *steps, verdict]
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


def _chain(steps: list[Row], width: int, plain: bool) -> Iterator[Text]:
    """A line a step, or several; rich's Table takes longer than all the rest, and fills lines up with blanks."""
    names = [visible(str(step["step"])) for step in steps]
    marks = {mark: PLAIN[mark] if plain else mark for mark in PLAIN}
    indent, told = len(marks[TICK]) + max(map(len, names), default=0) + 2, False
    for name, step in zip(names, steps, strict=True):
        mark, style = (marks[TICK], GOOD) if step["ok"] else (marks[CROSS], BAD)
        head = Text.assemble((mark, style), f" {name}".ljust(indent - len(mark)))
        yield from _folded(head, step["words"], Style() if step["ok"] else style, width - indent)
        if not step["ok"] and not told and step["remedy"]:
            told = True
            yield from _folded(Text(f"{marks[ARROW]} ".rjust(indent), CURE), step["remedy"], CURE, width - indent)


def _folded(head: Text, words: str, style: Style, width: int) -> Iterator[Text]:
    """Words behind a head, the further lines of them below each other."""
    first, *others = wrap(visible(words), max(width, NARROWEST)) or [""]
    yield Text.assemble(head, (first, style))
    for line in others:
        yield Text.assemble(" " * len(head.plain), (line, style))


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
