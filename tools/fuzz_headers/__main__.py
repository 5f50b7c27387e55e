"""`python -m tools.fuzz_headers --minutes 10 [--seed 0] [--keep FOLDER]`: how many files, what they broke."""

import argparse
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from tools.fuzz_headers.fuzzing import SAMPLES, Tally, TooSlowError, run

BATCH = 500  # files between two looks at the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one kind of file showed; `faults`: where and what -> a file that does it, and how often."""

    tally: Tally = field(default_factory=Tally)
    faults: dict[str, bytes] = field(default_factory=dict)


def main() -> int:
    """Exit status 1 when a fault was found."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz_headers", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first batch; each takes the next")
    parser.add_argument("--keep", type=Path, help="folder for files that show a fault")
    options = parser.parse_args()
    found = {kind: Found() for kind in SAMPLES}
    end, number = time.monotonic() + options.minutes * 60, options.seed
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            for kind, part in found.items():
                _run_batch(kind, Path(folder), part, number)
            number += 1
    for kind, part in found.items():
        _report(kind, part, options.keep)
    return int(any(part.faults for part in found.values()))


def _run_batch(kind: str, folder: Path, found: Found, number: int) -> None:
    """Goes on after a fault: the next batch has another seed."""
    try:
        run(kind, folder, found.tally, number=number, examples=BATCH)
    except (Exception, TooSlowError) as error:
        content = found.tally.last.read_bytes()
        smallest = min(found.faults.get(_place(error), content), content, key=len)
        found.faults[_place(error)] = smallest


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "wanvideo" in Path(frame.filename).parts]
    frame = (ours or list(frames))[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}, {frame.name}: {frame.line}"


def _report(kind: str, found: Found, keep: Path | None) -> None:
    tally = found.tally
    print(
        f"{kind}: {tally.cases} files, {tally.refused} refused, {tally.loaded} loaded, "
        f"peak {tally.peak_bytes / 2**20:.1f} MiB, slowest {tally.slowest:.2f} s, "
        f"{len(found.faults)} fault(s)"
    )
    for index, (place, content) in enumerate(found.faults.items()):
        print(f"  {place}\n    {len(content)} bytes: {content[:80]!r}")
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{kind}-{index}{found.tally.last.suffix}").write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
