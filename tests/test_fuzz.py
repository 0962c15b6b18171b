"""Every seed of the fuzzer, and every input that once broke something, is tried again."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.every import DEFAULT, TARGETS
from fuzz.run import LONGEST, mutated

ROOT = Path(__file__).parent.parent
SEEDS = sorted((ROOT / "tests" / "data" / "fuzz").glob("*/*"))


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_seed_finds_nothing(seed):
    TARGETS[seed.parent.name](seed.read_bytes())


def test_there_are_seeds_for_every_target():
    assert {seed.parent.name for seed in SEEDS} == TARGETS.keys()


def test_mutations_differ_and_are_survived():
    draw = random.Random(1)
    for seed in [seed for seed in SEEDS if seed.parent.name in DEFAULT]:
        inputs = {mutated(seed.read_bytes(), draw) for _ in range(3)}
        assert inputs != {seed.read_bytes()}
        for each in inputs:
            TARGETS[seed.parent.name](each[:LONGEST])


def test_an_empty_input_is_survived():
    for name in DEFAULT:
        TARGETS[name](b"")


def test_a_finding_ends_the_fuzzer_with_an_error(tmp_path):
    """The same loop over a target that always fails."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "from fuzz import every, run\n"
        "run.SEEDS = Path(sys.argv[3])\n"
        "(run.SEEDS / 'decode').mkdir()\n"
        "(run.SEEDS / 'decode' / 'one').write_bytes(b'1')\n"
        "every.TARGETS['decode'] = lambda data: 1 / 0\n"
        "run.blind('decode', 5)\n"
    )
    result = subprocess.run([sys.executable, "-c", code, str(ROOT), str(ROOT / "tests"), str(tmp_path)],
                            capture_output=True, text=True)
    assert result.returncode != 0
    assert "ZeroDivisionError" in result.stderr
    assert len(list((tmp_path / "decode").glob("crash-*"))) == 1
