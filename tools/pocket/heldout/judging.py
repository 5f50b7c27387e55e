"""What the judge says of finished clips, beside what it says of drawn ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tools.pocket.dataset import Clips
from tools.pocket.heldout.autoencoder import through
from tools.pocket.heldout.bench import JUDGE, Bench
from tools.pocket.heldout.results import ShownClip, mean
from tools.pocket.judge import load_judge
from tools.pocket.named import Agreement, agreement, named

Question = Literal["subject", "kin", "colour", "motion"]
QUESTIONS: tuple[Question, ...] = ("subject", "colour", "motion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One agreement per clip with its caption."""

    rows: tuple[Agreement, ...]

    def share(self, question: Question) -> float | None:
        """The share of right clips among those whose caption promises something; None without any."""
        answers = [getattr(row, question) for row in self.rows]
        return mean(None if answer is None else float(answer) for answer in answers)

    def share_of_all(self, questions: Sequence[Question]) -> float | None:
        """The share of clips that keep every promise of their caption in these questions."""
        return mean(float(all(getattr(row, name) is not False for name in questions)) for row in self.rows)


def judge_all(captions: Sequence[str], videos: Sequence[Tensor]) -> Judged:
    """Judge videos (3, F, H, W) in [-1, 1] of any size. Raises FileNotFoundError without the weights."""
    judge = load_judge(JUDGE)
    verdicts = [judge.judge(video[None])[0] for video in videos]
    promises = [named(caption) for caption in captions]
    return Judged(rows=tuple(agreement(*pair) for pair in zip(promises, verdicts, strict=True)))


def ceiling(bench: Bench, clips: Clips) -> Judged:
    """The judge on drawn clips passed through the autoencoder: what perfect clips would be given."""
    return judge_all(clips.captions, [through(bench, video) for video in clips.video])


def noted(file: str, caption: str, row: Agreement) -> ShownClip:
    """A row of a contact sheet that says what the judge found right and wrong."""
    answers = {name: getattr(row, name) for name in QUESTIONS}
    wrong = [name for name, answer in answers.items() if answer is False]
    right = [name for name, answer in answers.items() if answer]
    told = [f"{word}: {', '.join(names)}" for word, names in (("right", right), ("wrong", wrong)) if names]
    return ShownClip(file=file, caption=caption, note="; ".join(told))
