"""`mcfwd completion`: scripts for shells, and the answer to what they ask at each Tab."""

import contextlib
import io
import re
import shlex
import signal
import socket
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from forwarder.command.completing import Candidate, Position, candidates, expanded
from forwarder.endings import plain_errors

PATIENCE = 0.3      # seconds for the names of an instance's interfaces, which take 2 ms: with our start half a second
MOST = 1000         # candidates: more is no help

# Each asks `mcfwd completion SHELL -- WORDS`, a line for each candidate. None evaluates what comes back.
BASH = r"""
# bash completion of mcfwd: source this, or put it into /usr/share/bash-completion/completions/mcfwd
_mcfwd() {
    local line quoted
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o default
        else
            printf -v quoted %q "$line"
            COMPREPLY+=("$quoted")
        fi
    done < <(command "$1" completion bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _mcfwd mcfwd
"""
ZSH = r"""
#compdef mcfwd
# zsh completion of mcfwd: source this behind compinit, or put it as _mcfwd into a directory of fpath
_mcfwd() {
    local line
    local -a values shown
    for line in "${(@f)$(command "${words[1]}" completion zsh -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ $line == :files ]]; then
            _files
        elif [[ -n $line ]]; then
            values+=("${line%%$'\t'*}")
            shown+=("${line/$'\t'/  -- }")
        fi
    done
    (( $#values )) && compadd -l -d shown -- "${values[@]}"
}
if [[ ${funcstack[1]-} == _mcfwd ]]; then
    _mcfwd "$@"
else
    compdef _mcfwd mcfwd
fi
"""
FISH = r"""
# fish completion of mcfwd: source this, or put it into ~/.config/fish/completions/mcfwd.fish
function __mcfwd_candidates
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (command $words[1] completion fish -- $words[2..-1] "$current" 2>/dev/null)
        if test "$line" = ':files'
            __fish_complete_path "$current"
        else
            printf '%s\n' "$line"
        end
    end
end
complete -c mcfwd -f -a '(__mcfwd_candidates)'
"""


class Shell(StrEnum):
    """Whose completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


SCRIPTS = {Shell.BASH: BASH, Shell.ZSH: ZSH, Shell.FISH: FISH}


def completion(
    context: typer.Context,
    shell: Annotated[Shell, typer.Argument(metavar="SHELL", help=f"One of {', '.join(Shell)}.")],
    words: Annotated[list[str] | None, typer.Argument(metavar="WORD", help="What the script asks about.")] = None,
) -> None:
    """Print a script that completes commands in a shell.

    With words behind `--` instead: what may stand in the place of the last of them. That is what the script asks.
    """
    with plain_errors():
        if words is None:
            print(SCRIPTS[shell].lstrip("\n"), end="", flush=True)
            return
        root = context.find_root().command
        said = words if shell is Shell.FISH else list(_unquoted(words))
        found = candidates(root, said, interface_names)[:MOST]
        print("".join(f"{_line(each, shell)}\n" for each in found), end="", flush=True)


def _line(candidate: Candidate, shell: Shell) -> str:
    meaning = " ".join(candidate.meaning.split())
    return f"{candidate.value}\t{meaning}" if meaning and shell is not Shell.BASH else candidate.value


def _unquoted(words: list[str]) -> Iterator[str]:
    """Words as bash and zsh have them, still quoted; bash makes three of `--socket=/path`, the second being "="."""
    for before, word in zip(["", *words], words, strict=False):
        if not (word == "=" and before.startswith("--")):
            yield _plain(word)


def _plain(word: str) -> str:
    """A word without its quotes; the last may have one that is not closed yet. Nothing is expanded."""
    for closed in (word, word.removesuffix("\\"), f"{word}'", f'{word}"'):
        with contextlib.suppress(ValueError):
            return "".join(shlex.split(closed))
    return re.sub(r"""['"\\]""", "", word)


# --- names of interfaces ---


def interface_names(place: Position) -> list[str]:
    """Those of this machine for `run` and `doctor`; else those of the instance that answers, if one does."""
    if place.path in (["run"], ["doctor"]):
        with contextlib.suppress(OSError):
            return sorted(name for _, name in socket.if_nameindex())
        return []
    with contextlib.suppress(Exception):    # whatever it is, nobody who presses Tab wants to read it
        return _names_of_instance(place)
    return []


def _names_of_instance(place: Position) -> list[str]:
    from forwarder.client import Client

    asked = {"query", "clear"}.intersection(place.path)     # who is asked there is a receiver
    with _at_most(PATIENCE), contextlib.redirect_stderr(io.StringIO()):
        path = place.said.get("socket")
        rows = Client(expanded(path) if path else None, PATIENCE).get("interfaces")
        return [str(row["name"]) for row in rows if row["role"] == "downstream" or not asked]


@contextlib.contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """However many sockets there are to be tried: TimeoutError after that."""

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


