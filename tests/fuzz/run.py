"""Fuzz one target for some seconds: run.py TARGET SECONDS. Exit code 1 on a finding, whose input is kept as a seed.

Without arguments it prints the names of the targets. An input may take 10 s and 2 GiB. Coverage-guided with atheris
where it is installed, else by plain mutation of the seeds.
"""

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


def guided(name: str, seconds: int) -> None:
    """libFuzzer's loop; it does not return."""
    import atheris

    with atheris.instrument_imports(include=["igmp", "forwarder"]):
        from fuzz.every import TARGETS
    found = tempfile.mkdtemp()          # libFuzzer ends the process itself: scripts/fuzz clears it away
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
    try:
        import atheris  # noqa: F401
    except ImportError:
        blind(name, seconds)
    else:
        guided(name, seconds)


if __name__ == "__main__":
    main()
