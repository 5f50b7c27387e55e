"""UMT5: official goldens, the cleaning of prompts, and why no padding is needed."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import UMT5Config, UMT5EncoderModel

from tests.checkpoint.samples import below, golden, relative_error, small_vocabulary
from wanvideo.checkpoint import configs
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.keys import to_module
from wanvideo.checkpoint.load import load_text_encoder
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


@pytest.mark.parametrize(("gate", "output"), [(1.0, 1.0), (1.0, 3e5), (3000.0, 1.0)])
def test_fp16_does_not_overflow(gate: float, output: float, tmp_path: Path) -> None:
    """Weights as large as those of the real encoder: the feed-forward product or its output leaves fp16."""
    tensors, _ = golden("umt5_tiny.safetensors")
    weights = below(tensors, "w.")
    grow = {".ffn.fc2.": output, ".ffn.fc1.": gate, ".ffn.gate.0.": gate}
    for name, tensor in weights.items():
        factor = next((factor for part, factor in grow.items() if part in name), 1.0)
        weights[name] = tensor * factor
    save_file(weights, tmp_path / "umt5.safetensors")
    facts = inspect_checkpoint(tmp_path / "umt5.safetensors")
    ids = FixedTokens(tensors["in.ids"][0][: int(tensors["in.mask"][0].sum())].tolist())
    exact = encode_prompt(load_text_encoder(facts, dtype=torch.float32), ids, "")
    rows = encode_prompt(load_text_encoder(facts, dtype=torch.float16), ids, "")
    assert rows.dtype == torch.float16 and rows.isfinite().all()
    assert relative_error(rows.float(), exact) <= 2e-2


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
    assert max(ids) < 40


def test_not_a_vocabulary() -> None:
    with pytest.raises(ValueError, match="not a sentencepiece model"):
        PromptTokenizer(b"text")
