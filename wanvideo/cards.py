"""The cards that make videos side by side, a process on each: the jobs of the queue, the variations of a
command.
"""

import os
from collections.abc import Iterator, Mapping, Sequence

from wanvideo.fallback import AUTO
from wanvideo.hardware import Hardware
from wanvideo.options import RuntimeOptions

VISIBLE = "CUDA_VISIBLE_DEVICES"


def card_count(machine: Hardware, gpus: int | str) -> int:
    """How many cards work; a machine without a card works as one. `gpus`: the option."""
    here = len(machine.gpus) if machine.device != "cpu" else 0
    return max(1, here if gpus == AUTO else min(here, int(gpus)))


def card_environments(machine: Hardware, gpus: int | str) -> Sequence[Mapping[str, str]]:
    """For each card that works what its process finds in its environment; nothing when there is but one."""
    count = card_count(machine, gpus)
    if count == 1 and len(machine.gpus) <= 1:
        return ({},)
    named = os.environ.get(VISIBLE)
    names = named.split(",") if named else [str(number) for number in range(count)]
    return tuple({VISIBLE: name.strip()} for name in names[:count])


def about_cards(options: RuntimeOptions, machine: Hardware) -> Iterator[str]:
    """A sentence, without a full stop, when fewer cards are here than were asked for."""
    count = card_count(machine, options.gpus)
    if options.gpus != AUTO and int(options.gpus) > count:
        here = "1 process works" if count == 1 else f"{count} cards are here"
        yield f"gpus {options.gpus}: {here}"
