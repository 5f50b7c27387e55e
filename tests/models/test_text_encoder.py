"""UMT5: official goldens, the cleaning of prompts, and why no padding is needed."""

import pytest
import torch
from transformers import UMT5Config, UMT5EncoderModel

from tests.checkpoint.samples import below, golden, relative_error, small_vocabulary
from wanvideo.checkpoint import configs
from wanvideo.checkpoint.keys import to_module
from wanvideo.models.text_encoder import MAX_TOKENS, PromptTokenizer, clean_prompt, encode_prompt


class FixedTokens(PromptTokenizer):
    """Ids that are given, instead of those of a vocabulary."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids

    def encode(self, prompt: str) -> list[int]:  # noqa: ARG002
        return self.ids


def test_golden_rows() -> None:
    tensors, _ = golden("umt5_tiny.safetensors")
    state = to_module("text_encoder", below(tensors, "w."))
    model = UMT5EncoderModel(UMT5Config(**configs.text_encoder_config(state))).eval()
    model.load_state_dict(state)
    for ids, mask, hidden in zip(tensors["in.ids"], tensors["in.mask"], tensors["out.hidden"], strict=True):
        count = int(mask.sum())
        rows = encode_prompt(model, FixedTokens(ids[:count].tolist()), "")
        assert rows.shape == (count, 64)
        assert relative_error(rows, hidden[:count]) <= 1e-4
        with torch.no_grad():
            padded = model(input_ids=ids[None], attention_mask=mask[None]).last_hidden_state[0, :count]
        assert relative_error(rows, padded) <= 1e-5


@pytest.mark.parametrize(
    ("written", "cleaned"),
    [
        ("  a\tcat \n\n speaks ", "a cat speaks"),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("1 &amp;lt; 2", "1 < 2"),
        ("a caf\u00c3\u00a9", "a caf\u00e9"),
        ("\u4e00\u53ea\u732b\u3000\u5728\u8bf4\u8bdd", "\u4e00\u53ea\u732b \u5728\u8bf4\u8bdd"),
        ("", ""),
    ],
)
def test_cleaning(written: str, cleaned: str) -> None:
    assert clean_prompt(written) == cleaned


def test_long_prompts_are_cut_and_still_closed() -> None:
    tokenizer = PromptTokenizer(small_vocabulary())
    ids = tokenizer.encode("a cat " * 600)
    assert len(ids) == MAX_TOKENS and ids[-1] == 1 and 1 not in ids[:-1]
    assert tokenizer.encode("") == [1]
    assert max(ids) < tokenizer.vocabulary_size


def test_not_a_vocabulary() -> None:
    with pytest.raises(ValueError, match="not a sentencepiece model"):
        PromptTokenizer(b"text")
