"""Imports point down only, the protocol is pure, and every module can be imported alone."""

import ast
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for package in ("forwarder", "igmp") for path in (ROOT / package).rglob("*.py"))

# Package -> the packages of ours that it may import (itself always).
ALLOWED = {
    "igmp.link": set(),     # addresses and networks, of use everywhere
    "forwarder.units": set(),   # numbers in words
    "forwarder.nouns": set(),   # what `mcfwd show` and the API agree on
    "forwarder.ordering": set(),
    "igmp.checksum": set(),
    "igmp.access": {"igmp.link"},
    "igmp": {"igmp.link", "igmp.checksum", "igmp.access"},
    "forwarder.state": {"igmp", "igmp.link", "igmp.access"},
    "forwarder.packet": set(),
    "forwarder.process": set(),
    "forwarder.dataplane": {
        "igmp.link", "igmp.checksum", "igmp.access", "forwarder.state", "forwarder.packet", "forwarder.process",
    },
    "forwarder.agent": {"igmp", "igmp.link", "igmp.access", "forwarder.state", "forwarder.packet", "forwarder.process"},
    "forwarder.diagnosis": {"igmp.link", "forwarder.units", "forwarder.state"},
    "forwarder.api": {
        "igmp", "igmp.link", "igmp.access", "forwarder.diagnosis", "forwarder.state", "forwarder.process",
        "forwarder.nouns", "forwarder.ordering",
    },
    "forwarder.supervisor": {
        "forwarder.config.rules", "forwarder.units", "forwarder.state", "forwarder.packet", "forwarder.process",
    },
    "forwarder.config.rules": {"igmp", "igmp.link", "igmp.access", "forwarder.units", "forwarder.state"},
    "forwarder.lab": {"igmp", "igmp.link", "igmp.access", "forwarder.packet"},
}
PURE = {
    "forwarder.dataplane.admission": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.rates": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.ledger": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.division": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.pieces": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.standby": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.loops": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.segmentation": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.checksums": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.pace": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.slot_ring": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.long_frames": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.ring": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.frame": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.fib": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.flows": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.room": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.lists": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.pair_index": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.dataplane.forwarding": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.packet.rtnetlink": {"socket", "time", "random", "asyncio", "logging", "os"},
    "forwarder.supervisor.links": {"socket", "time", "random", "asyncio", "logging", "os"},
    "forwarder.dataplane.fragmentation": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.state.contradictions": {"socket", "time", "random", "asyncio", "logging", "os"},
    "forwarder.state.ring_memory": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.supervisor.ring_lending": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.supervisor.capacity": {"socket", "time", "random", "asyncio", "logging", "os"},
    "forwarder.supervisor.doubts": {"socket", "time", "random", "asyncio", "logging", "os"},
    "forwarder.supervisor.refusals": {"socket", "time", "random", "asyncio", "logging"},
    "forwarder.api.flow_order": {"socket", "time", "random", "asyncio", "logging", "os"},
    "forwarder.api.flow_choice": {"socket", "time", "random", "asyncio", "logging", "os"},
    "forwarder.api.flow_rates": {"socket", "time", "random", "asyncio", "logging", "os"},
    "forwarder.api.selection": {"socket", "time", "random", "asyncio", "logging", "os"},
    "forwarder.api.samples": {"socket", "time", "random", "asyncio", "logging", "os", "numpy"},
    "forwarder.ordering": {"socket", "time", "random", "asyncio", "logging", "os"},
}
IMPURE_FOR_DIAGNOSIS = {"socket", "time", "random", "asyncio", "logging", "os", "numpy"}
VALUES = {f"forwarder.state.{name}" for name in (
    "contradictions", "egress_drops", "membership", "ports", "reasons", "settings",
)}  # fmt: skip
IMPURE_FOR_IGMP = {"socket", "time", "random", "asyncio", "logging", "threading", "numpy", "os", "select", "datetime"}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def package_of(module: str) -> str | None:
    return next((package for package in ALLOWED if module == package or module.startswith(package + ".")), None)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path):
    package = package_of(name_of(path))
    if package is None:
        return      # the top of the tree: cli, config and what belongs to them
    for imported in imports_of(path):
        if imported.split(".")[0] not in ("forwarder", "igmp") or imported in ("forwarder", "forwarder.config"):
            continue
        target = package_of(imported)
        assert target == package or target in ALLOWED[package], f"{name_of(path)} imports {imported}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_what_is_installed_needs_nothing_that_is_not(path):
    assert not {imported.split(".")[0] for imported in imports_of(path)} & {"bench", "tests", "scripts"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_pure_modules_stay_pure(path):
    name = name_of(path)
    roots = {imported.split(".")[0] for imported in imports_of(path)}
    if name == "igmp" or name.startswith("igmp."):
        assert not roots & IMPURE_FOR_IGMP
        assert roots - {"igmp"} <= set(sys.stdlib_module_names)
    if name.startswith("forwarder.diagnosis"):
        assert not roots & {"socket", "time", "random", "asyncio", "logging", "os", "subprocess", "pathlib"}
    assert not roots & (PURE.get(name) or set())


@pytest.mark.parametrize("path", sorted((ROOT / "forwarder/diagnosis").glob("*.py")), ids=name_of)
def test_what_explains_knows_values_alone(path):
    """Others gather the facts: no segment, no process and no clock of its own."""
    imported = imports_of(path)
    assert not {each.split(".")[0] for each in imported} & IMPURE_FOR_DIAGNOSIS
    modules = {".".join(each.split(".")[:3]) for each in imported if each.startswith("forwarder.state.")}
    assert modules <= VALUES


def test_a_name_stands_for_one_class():
    """Of the daemon; the programs of the lab are others', with options and accounts of their own."""
    files = {path: re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE) for path in MODULES}
    names = sorted(name for path, found in files.items() if "lab" not in path.parts for name in found)
    assert [name for name, next_one in pairwise(names) if name == next_one] == []


ALONE = """
import os, sys
import aiohttp, numpy, pydantic, pyroute2, rich, typer, uvloop
for name in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        __import__(name)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(name)
"""


def test_every_module_imports_alone():
    """Each in a process that has imported nothing else of ours."""
    names = [name_of(path) for path in MODULES if path.name != "__main__.py"]
    result = subprocess.run([sys.executable, "-c", ALONE, *names], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "", result.stderr


@pytest.mark.parametrize(
    "module",
    ["forwarder.command.main", "forwarder.config.loading", "forwarder.supervisor", "forwarder.agent.agent",
     "forwarder.api.__main__"],
)
def test_numpy_is_for_the_workers(module):
    """It takes 6 MiB of a process; the API imports it when somebody asks for flows."""
    script = f"import sys, {module}; print('numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
