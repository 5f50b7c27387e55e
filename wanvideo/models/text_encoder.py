"""UMT5: a prompt -> one row per token, as Wan 2.1's text branch reads it."""

import html
import re
from pathlib import Path

import ftfy
import sentencepiece
import torch
from torch import Tensor, nn
from transformers import UMT5EncoderModel

MAX_TOKENS = 512
END_OF_TEXT = 1
_WIDE = ".DenseReluDense.wo."  # UMT5's `_keep_in_fp32_modules`, honoured here because weights are assigned


class PromptTokenizer:
    """sentencepiece pieces of a cleaned prompt, closed by the end-of-text token."""

    def __init__(self, model: bytes) -> None:
        """`model` is the content of a spiece.model file. Raises ValueError if it is not one."""
        self._pieces = sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise ValueError("not a sentencepiece model") from error

    @classmethod
    def from_file(cls, path: Path) -> "PromptTokenizer":
        """Read a spiece.model file."""
        return cls(path.read_bytes())

    def encode(self, prompt: str) -> list[int]:
        """Token ids with the end-of-text token last; a longer prompt is cut to 512 in all."""
        pieces: list[int] = self._pieces.EncodeAsIds(clean_prompt(prompt))
        return [*pieces[: MAX_TOKENS - 1], END_OF_TEXT]


def clean_prompt(prompt: str) -> str:
    """Mend broken Unicode, undo HTML entities (doubled ones too) and make every run of white space one space.

    The 'whitespace' cleaning of the official tokenizer.
    """
    mended = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", mended.strip()).strip()


def text_encoder_dtype(name: str, dtype: torch.dtype) -> torch.dtype:
    """What the parameter `name` is held in when the encoder runs in `dtype`: fp16 ends at 65504, and what the
    feed-forward layers add to the residual does not.
    """
    return torch.float32 if dtype == torch.float16 and _WIDE in name else dtype


def widen_feed_forward(model: UMT5EncoderModel) -> UMT5EncoderModel:
    """For weights in fp16: the product of the two gate branches is taken in fp32, as its output weights are.

    The residual is fp32 from the first block on, and every layer norm brings it back to fp16.
    """
    for block in model.encoder.block:
        block.layer[-1].DenseReluDense.wi_1.register_forward_hook(_to_fp32)
    return model


def word_tables(model: UMT5EncoderModel) -> list[nn.Embedding]:
    """The modules that look up the rows of words: two names of one table of 2 GB."""
    table = model.shared.weight
    tables = (module for module in model.modules() if isinstance(module, nn.Embedding))
    return [module for module in tables if module.weight is table]


def _to_fp32(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.float()


@torch.no_grad()
def encode_prompt(model: UMT5EncoderModel, tokenizer: PromptTokenizer, prompt: str) -> Tensor:
    """Prompt -> (rows, dim), rows <= 512: the valid rows alone, in the model's dtype.

    The transformer pads with zeros to 512. Encoding without padding gives the same rows as the official way,
    which pads first and masks: masked keys have no weight in the softmax.
    """
    device = model.encoder.final_layer_norm.weight.device  # the table of words may be elsewhere
    ids = torch.tensor([tokenizer.encode(prompt)], device=device)
    rows: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return rows[0]
