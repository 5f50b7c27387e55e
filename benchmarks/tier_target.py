"""Whole InfiniteTalk jobs within the memory of a smaller card, as the part `jobs` has measured them."""

from functools import partial

from benchmarks.report import figures
from benchmarks.target_row import Bench, Found, Goal, Target, Unmeasured, ratio_at_most
from benchmarks.whole_jobs import TIERS

KIND, JOB, PART = "talk 14B", "job", "jobs"


def _tier(bench: Bench, gib: int) -> Found:
    """Raises Unmeasured where that part has no such row of this machine."""
    key = {"job": KIND, "what": JOB, "gib": gib}
    row = next((row for row in figures(bench.rows_of(PART), **key) if row["peak_gib"] is not None), None)
    if row is None:
        raise Unmeasured(f"the part {PART} makes it: python -m wanvideo bench {PART} --only {gib}")
    return Found(
        value=row["peak_gib"],
        unit="GiB",
        peer=float(gib),
        ratio=row["peak_gib"] / gib,
        holds=row["finite"],
        quality=f"{row['quantization']}, {row['attention']}",
        how=f"{row['size']}, preset {row['preset']}, {row['swapped']} blocks swapped",
    )


TARGETS = tuple(
    Target(
        name=f"talk 14B in {gib} GB",
        measure=partial(_tier, gib=gib),
        goal=Goal(text="the cap holds, the video is whole", is_met=ratio_at_most(1.0)),
        peer="the enforced cap",
    )
    for gib in TIERS
)
