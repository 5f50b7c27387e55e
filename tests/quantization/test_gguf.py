"""GGUF types against the gguf package's own arithmetic in numpy."""

import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from tests.quantization.weights import gguf_reference, gguf_weight
from wanvideo.quantization import gguf
from wanvideo.quantization.gguf_types import READABLE, TYPE_OF_NUMBER


@pytest.mark.parametrize("kind", READABLE)
def test_type_is_read_as_the_gguf_package_reads_it(kind: str) -> None:
    stored = gguf_weight(kind, 6, 512)
    assert stored.tensors["weight"].shape == (6, gguf.row_bytes(kind, 512))
    before = stored.tensors["weight"].clone()
    exact = gguf_reference(stored)
    assert exact.abs().max() > 0
    assert torch.equal(gguf.dequantize(stored, torch.float32), exact)
    assert torch.equal(gguf.dequantize(stored, torch.bfloat16), exact.bfloat16())
    assert torch.equal(stored.tensors["weight"], before)


@pytest.mark.parametrize("kind", READABLE)
def test_a_large_weight_is_read_in_pieces(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = gguf_weight(kind, 6, 512)
    whole = gguf.dequantize(stored, torch.float32)
    monkeypatch.setattr(gguf, "MOST_AT_ONCE", 1280)
    assert torch.equal(gguf.dequantize(stored, torch.float32), whole)


def test_types_are_those_that_were_promised() -> None:
    assert set(gguf.TYPES) == {
        *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")
    }
    with pytest.raises(KeyError):
        gguf.row_bytes("IQ1_S", 256)


@pytest.mark.parametrize("number", TYPE_OF_NUMBER)
def test_numbers_and_sizes_are_those_of_ggml(number: int) -> None:
    kind = TYPE_OF_NUMBER[number]
    assert GGMLQuantizationType(number).name == kind.name
    assert GGML_QUANT_SIZES[GGMLQuantizationType(number)] == (kind.block, kind.bytes)


@pytest.mark.parametrize("kind", READABLE)
def test_no_table_is_made_on_the_host(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be copied to the card at each call, and the host would wait; tests on a card show the rest."""
    stored = gguf_weight(kind, 6, 512)
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.setattr(torch, name, lambda *_, **__: pytest.fail("a table from the host"))
    gguf.dequantize(stored, torch.bfloat16)
