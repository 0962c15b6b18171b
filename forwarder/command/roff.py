"""Text as groff's man macros take it (groff_man(7), groff_char(7)). Pure.

Whatever is in a text comes out as it is: no character of it is a request, an escape or another character's stand-in.
"""

import re

# groff sets these as something else where they stand by themselves: a hyphen, quotation marks, accents
SPECIAL = {"\\": r"\(rs", "-": r"\-", "'": r"\(aq", '"': r"\(dq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
CODE = re.compile(r"`([^`]*)`")


def plain(text: str) -> str:
    """A text in a line, its blanks as one each; a character that cannot be printed is `?`."""
    escaped = "".join(map(_escaped, " ".join(text.split())))
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


def _escaped(character: str) -> str:
    if character in SPECIAL:
        return SPECIAL[character]
    if character.isascii():
        return character if character.isprintable() else "?"
    return rf"\[u{ord(character):04X}]" if character.isprintable() else "?"


def bold(text: str) -> str:
    """A text in bold: what is typed as it stands."""
    return rf"\fB{plain(text)}\fR"


def italic(text: str) -> str:
    """A text in italics: what stands for something else."""
    return rf"\fI{plain(text)}\fR"


def marked(text: str) -> str:
    """A text in which code has the marks of Markdown."""
    pieces = CODE.split(" ".join(text.split()))
    odd = "".join(bold(piece) if number % 2 else _inner(piece) for number, piece in enumerate(pieces))
    return rf"\&{odd}" if odd.startswith(".") else odd


def _inner(piece: str) -> str:
    """A piece of a line, with the blanks at its ends."""
    return "".join(map(_escaped, piece))


def paragraphs(text: str) -> str:
    """A text of several paragraphs, an empty line between them."""
    return "\n.PP\n".join(marked(each) for each in re.split(r"\n\s*\n", text.strip()) if each.strip())


def section(name: str) -> str:
    """A heading."""
    return f'.SH "{plain(name)}"'


def item(head: str, body: str) -> str:
    """A term, ready as roff, and what it means, ready too."""
    return f".TP\n{head}\n{body or chr(92) + '&'}"
