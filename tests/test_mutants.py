"""The faults that scripts/mutants plants: each is another program, drawn alike every time, and runs only its tests."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from mutants.covering import Covering, importing, module_of
from mutants.operators import OPERATORS, faults
from mutants.recorder import IMPORTED

SOURCE = b'''"""Says nothing."""

SIZE: int = 4


def first(words: list[int], mask: int = 0xF0) -> int:
    """Of several."""
    total = 0
    for word in words[1:SIZE]:
        if word & 0x10 and not total < 3:
            total += min(word, 7)
            log.info("%d", 9)
    if total == 1:
        raise ValueError(5)
    return len(sorted(words, reverse=True)) << total * ~any(words)
'''
FOUND = faults("forwarder/it.py", SOURCE)


def texts(operator: str) -> set[tuple[str, str]]:
    return {fault.diff(SOURCE) for fault in FOUND if fault.operator == operator}


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_operator_finds_something_and_makes_another_program(operator):
    mine = [fault for fault in FOUND if fault.operator == operator]
    assert mine
    for fault in mine:
        assert ast.dump(ast.parse(fault.apply(SOURCE))) != ast.dump(ast.parse(SOURCE))


def test_no_two_faults_are_the_same_program():
    programs = [ast.dump(ast.parse(fault.apply(SOURCE))) for fault in FOUND]
    assert len(set(programs)) == len(programs)


def test_some_faults_as_they_are_shown():
    assert ("SIZE: int = 4", "SIZE: int = 5") in texts("constant")
    assert ("for word in words[1:SIZE]:", "for word in words[:SIZE]:") in texts("slice bound")
    assert ("total += min(word, 7)", "total += max(word, 7)") in texts("min/max")
    assert ("total += min(word, 7)", "pass") in texts("statement deleted")
    assert ("if total == 1:", "if (total != 1):") in texts("comparison swapped")
    assert ("if word & 0x10 and not total < 3:", "if word & 48 and not total < 3:") in texts("bit of a mask")


def test_what_is_said_to_people_is_left_alone():
    changed = {fault.diff(SOURCE)[0] for fault in FOUND}
    assert not any("log.info" in line or "ValueError" in line or '"""' in line for line in changed)


def test_a_fault_is_tried_with_the_tests_that_take_its_line_those_of_the_module_first():
    one, two, sick = "tests/test_a.py::one", "tests/test_it.py::two", "tests/test_a.py::sick"
    covering = Covering({"forwarder/it.py": {11: {one, two}, 15: {sick}}}, {one: 1.0, two: 2.0, sick: 1.0}, [sick])
    at = {fault.line: fault for fault in FOUND}
    assert covering.tests(at[11]) == [two, one]
    assert covering.tests(at[15]) == []
    assert covering.tests(at[9]) == []


def test_what_happens_at_import_concerns_all_that_use_what_imports_it():
    [fault] = [each for each in faults("igmp/checksum.py", b"MOST = 0\n") if each.text == "1"]
    lines = {"igmp/checksum.py": {1: {IMPORTED}}, "igmp/packet.py": {9: {"tests/test_host.py::a"}},
             "igmp/proxy.py": {9: {"tests/test_proxy.py::a"}}}
    assert Covering(lines, {"tests/test_host.py::a": 1.0}, []).tests(fault) == ["tests/test_host.py::a"]
    assert {"igmp/packet.py", "tests/egress.py"} <= importing("igmp.checksum")
    assert module_of("igmp/__init__.py") == "igmp"


def test_the_same_seed_draws_the_same_faults():
    code = ("from mutants.__main__ import draw\n"
            "print([(each.path, each.start, each.text) for each in draw('state', '', 50, 7)])")
    tests = str(Path(__file__).parent)
    drawn = {subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": tests, "PYTHONHASHSEED": seed},
                            capture_output=True, text=True, check=True).stdout for seed in ("1", "2")}
    assert len(drawn) == 1
