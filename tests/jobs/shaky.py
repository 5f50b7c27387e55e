"""An attention backend that is exact, and that can break the card; as a program a worker that has it."""

import sys
from dataclasses import replace

from wanvideo.jobs import worker
from wanvideo.registry import AttentionBackend, AttentionFunction, AttentionPlace, attention_backends

SHAKY = "shaky"
REASON = "misaligned address"


def shaky_backend(*, breaks_in: int | None = None) -> AttentionBackend:
    """The window (from 0) counts from when it is first asked for a function."""
    exact = next(row for row in attention_backends().values() if row.fallback is None)
    begun: list[AttentionPlace] = []

    def load(place: AttentionPlace) -> AttentionFunction:
        if place.block == 0 and place.step == 0:
            begun.append(place)
        if breaks_in is not None and len(begun) > breaks_in:
            raise RuntimeError(f"CUDA error: {REASON}\nCUDA kernel errors might be asynchronously reported")
        return exact.load(place)

    return replace(exact, name=SHAKY, label=SHAKY, aliases=(), fallback=exact.name, priority=-90, load=load)


if __name__ == "__main__":
    attention_backends()[SHAKY] = shaky_backend(breaks_in=1)
    sys.exit(worker.main(*sys.argv[1:]))
