"""Groups of users by name or number (group(5)): who may ask the control socket."""

import grp

LARGEST = (1 << 32) - 2     # the number above means "as it was" to chown(2)


def find(name: str) -> int:
    """The number of a group; LookupError with words where there is none."""
    if name.isascii() and name.isdigit() and int(name) <= LARGEST:
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):      # ValueError: no name that a group could have
        raise LookupError(f"there is no group {name}") from None


def problem(name: str | None) -> str | None:
    """What is wrong with a configured group, in words that follow its key; None where nothing is."""
    if name is None:
        return None
    try:
        find(name)
    except LookupError:
        return "is no group of this system"
    return None
