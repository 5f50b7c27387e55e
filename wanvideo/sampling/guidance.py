"""Classifier-free guidance over text and speech, with or without adaptive projection (APG).

The passes of a step form a chain, each dropping one condition more than the one before: (text, audio) -> (no
text, audio) -> (no text, no audio). A scale of 1 leaves its link out, so there are 3, 2, 2 or 1 passes. With
d_i the difference across link i and s_i its scale, v = v_0 + sum (s_i - 1) d_i: the same as the reference's
formulas for every case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Branch:
    """Which conditions a forward pass is given: the prompt (or the negative prompt), the speech (or null
    speech).
    """

    prompt: bool = True
    speech: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Apg:
    """Adaptive projected guidance: momentum, a cap on the length of the difference, only its part orthogonal
    to v_0.
    """

    momentum: float = -0.75
    norm_threshold: float = 55.0


class Guidance:
    """One window's guidance; APG keeps a running difference per condition, so make a new one per window."""

    def __init__(
        self, prompt_scales: Sequence[float], speech_scale: float = 1.0, apg: Apg | None = None
    ) -> None:
        """`prompt_scales`: one per step of the whole schedule."""
        self._prompt_scales = prompt_scales
        self._speech_scale = speech_scale
        self._apg = apg
        self._running: dict[str, Tensor] = {}

    def branches(self, step: int) -> tuple[Branch, ...]:
        """The passes of a step, in the order `combine` expects their outputs."""
        chain = [Branch()]
        if self._prompt_scales[step] != 1:
            chain.append(Branch(prompt=False))
        if self._speech_scale != 1:
            chain.append(Branch(prompt=chain[-1].prompt, speech=False))
        return tuple(chain)

    def combine(self, step: int, outputs: Sequence[Tensor]) -> Tensor:
        """v of the step from the outputs of its branches, each (batch, channels, frames, height, width)."""
        guided = first = outputs[0]
        for (name, scale), kept, dropped in zip(self._links(step), outputs, outputs[1:], strict=False):
            difference = kept - dropped
            if self._apg is not None:
                difference = self._project(name, difference, first, self._apg)
            guided = guided + (scale - 1) * difference
        return guided

    def _links(self, step: int) -> list[tuple[str, float]]:
        links = [("prompt", self._prompt_scales[step]), ("speech", self._speech_scale)]
        return [(name, scale) for name, scale in links if scale != 1]

    def _project(self, name: str, difference: Tensor, reference: Tensor, apg: Apg) -> Tensor:
        if name in self._running:
            difference = difference + apg.momentum * self._running[name]
        self._running[name] = difference
        length = difference.norm(p=2, dim=(1, 2, 3, 4), keepdim=True)
        difference = difference * (apg.norm_threshold / length).clamp(max=1)
        exact, direction = difference.double(), reference.double()
        direction = direction / direction.norm(p=2, dim=(1, 2, 3, 4), keepdim=True)
        parallel = (exact * direction).sum(dim=(1, 2, 3, 4), keepdim=True) * direction
        orthogonal: Tensor = (exact - parallel).to(difference.dtype)
        return orthogonal
