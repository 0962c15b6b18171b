"""Fuzz one target for some seconds: run.py TARGET SECONDS. Exit code 1 on a finding, whose input is kept as a seed.

Without arguments it prints the names of the targets. An input may take 10 s and 2 GiB. Coverage-guided with atheris
where it is installed, else by plain mutation of the seeds.
"""

import importlib.util
import os
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SEEDS = ROOT / "tests" / "data" / "fuzz"
LONGEST = 512           # octets of an input
SECONDS, MEMORY = 10, 2 << 30   # what an input may take
ROUND = 90.0            # seconds of a process: atheris keeps some 2 KiB of every run of what it watches, leaky or not


def in_rounds(name: str, seconds: int) -> None:
    """Guided, in one process after the other; what one has found the next goes on from."""
    found = tempfile.mkdtemp()          # libFuzzer ends the process itself: scripts/fuzz clears it away
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        child = os.fork()
        if not child:
            guided(name, max(int(min(left, ROUND)), 1), found)
        _, status = os.waitpid(child, 0)
        if status:
            sys.exit(os.waitstatus_to_exitcode(status) or 1)


def guided(name: str, seconds: int, found: str) -> None:
    """libFuzzer's loop; it does not return."""
    import atheris

    with atheris.instrument_imports(include=["igmp", "forwarder"]):
        from fuzz.every import TARGETS
    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-print_final_stats=1", "-verbosity=1",
               f"-artifact_prefix={SEEDS / name}/", f"-rss_limit_mb={MEMORY >> 20}", f"-timeout={SECONDS}"]
    atheris.Setup([sys.argv[0], found, str(SEEDS / name), *options], TARGETS[name])
    atheris.Fuzz()


def blind(name: str, seconds: int) -> None:
    """Mutations of the seeds, without looking at what they reach."""
    from fuzz.every import TARGETS

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    seeds = [path.read_bytes() for path in sorted((SEEDS / name).iterdir())]
    draw, end, runs = random.Random(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        data = mutated(draw.choice(seeds), draw)[:LONGEST]
        signal.alarm(SECONDS)
        try:
            TARGETS[name](data)
        except Exception:
            path = SEEDS / name / f"crash-{draw.randbytes(8).hex()}"
            path.write_bytes(data)
            print(f"{name}: kept in {path}", file=sys.stderr)
            raise
        runs += 1
    signal.alarm(0)
    print(f"{name}: {runs} runs, nothing found", file=sys.stderr)


def _too_long(*_: object) -> None:
    raise TimeoutError(f"{SECONDS} s for one input")


def mutated(seed: bytes, draw: random.Random) -> bytes:
    """`seed` with a few octets changed, added, doubled or cut."""
    data = bytearray(seed)
    for _ in range(draw.randint(1, 8)):
        at = draw.randint(0, len(data))
        match draw.randint(0, 3):
            case 0:
                data[at : at + 1] = draw.randbytes(1)
            case 1:
                data[at:at] = draw.randbytes(draw.randint(1, 8))
            case 2:
                data[at:at] = data[at : at + draw.randint(1, 16)]
            case 3:
                del data[at : at + draw.randint(1, 4)]
    return bytes(data)


def main() -> None:
    """See the module."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    if len(sys.argv) == 1:
        from fuzz.every import DEFAULT

        print(*DEFAULT)
        return
    name, seconds = sys.argv[1], int(sys.argv[2])
    if importlib.util.find_spec("atheris"):
        in_rounds(name, seconds)
    else:
        blind(name, seconds)


if __name__ == "__main__":
    main()
