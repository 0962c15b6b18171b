"""A Python that any user may run, for tests of what becomes another user: ours may lie where only root may enter."""

import atexit
import os
import shutil
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path


def reachable(path: str) -> bool:
    """Whether any user may execute `path`; an interpreter under root's home is out of an ordinary user's reach."""
    places = [place.resolve() for place in (Path(path), Path(path).parent)]
    return all(step.stat().st_mode & 1 for place in places for step in (place, *place.parents))


NO_MODULES = {"build", "__pycache__", "tests", "bench", "docs", "scripts"}
"""What a checkout has beside packages."""


def public_python() -> tuple[str, dict[str, str]] | None:
    """A Python of our version that any user may run, and the environment in which it finds what ours does."""
    if reachable(sys.executable):
        return sys.executable, {}
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    if not (os.path.exists(system) and reachable(system)):
        return None
    places = [str(Path(__file__).parents[2]), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    found = places if all(map(reachable, places)) else map(_public, dict.fromkeys(places))
    path = dict.fromkeys([*found, *filter(None, [os.environ.get("PYTHONPATH")])])
    return system, {"PYTHONPATH": ":".join(path), "PYTHONSAFEPATH": "1"}    # and not where we are: a folder of root's


@cache
def _public(place: str) -> str:
    """The modules of a place below a folder that only root may enter, linked where any user may; gone at our end."""
    folder = tempfile.mkdtemp(prefix="mcfwd-public-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.chmod(folder, 0o755)
    for package in (each for each in Path(place).iterdir() if each.name not in NO_MODULES and each.name[0] != "."):
        if package.is_dir():
            shutil.copytree(package, Path(folder, package.name), copy_function=_link)
        elif package.suffix in (".py", ".so"):
            _link(str(package), f"{folder}/{package.name}")
    return folder


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:     # another file system
        shutil.copy2(source, target)
