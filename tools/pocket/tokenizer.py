"""The pocket model's tokenizer: 512 SentencePiece pieces learnt from its captions, bytes for all the rest."""

import io
import shutil
from pathlib import Path

import sentencepiece
import torch

from tools.pocket.captions import sample_captions
from tools.pocket.components import VOCABULARY

CAPTIONS = 20_000
FILE = "spiece.model"


def find_tokenizer(out: Path, resume: Path | None, seed: int) -> Path:
    """spiece.model in `out`: the one there, else `resume`'s, whose weights know its ids, else a new one."""
    path = out / FILE
    if not path.exists() and resume is not None and (resume / FILE).exists():
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(resume / FILE, path)
    elif not path.exists():
        train_tokenizer(path, seed)
    return path


def train_tokenizer(path: Path, seed: int) -> None:
    """Write spiece.model with the ids of UMT5's: padding 0, end 1, unknown 2, no beginning."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sample_captions(CAPTIONS, torch.Generator().manual_seed(seed))),
        model_writer=written,
        model_type="unigram",
        vocab_size=VOCABULARY,
        hard_vocab_limit=False,
        byte_fallback=True,
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written.getvalue())
