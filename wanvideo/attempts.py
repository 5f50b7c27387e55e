"""Work that is done again with less memory when the card's runs out, and what that changed."""

import gc
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from wanvideo.lending import JobModels
from wanvideo.memory.ladder import next_rung
from wanvideo.models.transformer import WanTransformer
from wanvideo.stage_clock import StageClock

log = logging.getLogger(__name__)

DENOISE = "denoise"
LEAST_FREE = 256 << 20  # bytes of the card; below it drivers begin to move memory about, or refuse
Result = TypeVar("Result")


class Attempts:
    """Hands out one job's models. When the memory runs out it goes one rung down a fixed ladder that never
    changes what is made, says so, and tries again; what it came to holds for the rest of the job.
    """

    def __init__(self, models: JobModels, clock: StageClock) -> None:
        self.models, self.clock = models, clock
        self.notes: list[str] = []
        self.passes: tuple[int, int] | None = None  # computed and all of the last window, with a step cache

    def make(self, work: Callable[[JobModels], Result]) -> Result:
        """What `work` returns. Raises torch.OutOfMemoryError at the end of the ladder."""
        while True:
            try:
                return work(self.models)
            except torch.OutOfMemoryError:
                if not self._step_down(self.clock.stage):
                    raise
            # Out here the error is gone, which held the tensors of the attempt.
            gc.collect()
            self.models.cache.clear_card()  # what is idle comes back when it is needed
            torch.cuda.empty_cache()

    def relieve(self, transformer: WanTransformer) -> None:
        """Between two steps: more blocks of the transformer, which is at work, are swapped if memory got
        short.
        """
        if self._is_short() and self._step_down(DENOISE):
            self.models.settle_again(transformer)

    def _is_short(self) -> bool:
        """Asks counters of the host's; nothing waits for the card."""
        if self.models.device == "cpu":
            return False
        free, _ = torch.cuda.mem_get_info()
        budget = self.models.memory.budget_bytes
        unused = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return free + unused < LEAST_FREE or bool(budget) and torch.cuda.memory_allocated() > budget

    def _step_down(self, stage: str) -> bool:
        files = self.models.files
        blocks, layers = files.transformer.num_layers, files.text_encoder.num_layers
        rung = next_rung(self.models.memory, stage, blocks, layers)
        if rung is None:
            return False
        memory, words = rung
        self.models = replace(self.models, memory=memory)
        self.notes.append(words)
        self.clock.say(f"memory is short: {words}")
        log.warning("memory is short: %s", words)
        return True
