"""GGUF types against the gguf package's own arithmetic in numpy."""

import pytest
import torch

from tests.quantization.weights import gguf_reference, gguf_weight
from wanvideo.quantization import gguf


@pytest.mark.parametrize("kind", sorted(gguf.TYPES))
def test_type_is_read_as_the_gguf_package_reads_it(kind: str) -> None:
    stored = gguf_weight(kind, 6, 512)
    assert stored.tensors["weight"].shape == (6, gguf.row_bytes(kind, 512))
    before = stored.tensors["weight"].clone()
    exact = gguf_reference(stored)
    assert exact.abs().max() > 0
    torch.testing.assert_close(gguf.dequantize(stored, torch.float32), exact, rtol=1e-6, atol=1e-9)
    assert torch.equal(
        gguf.dequantize(stored, torch.bfloat16), gguf.dequantize(stored, torch.float32).bfloat16()
    )
    assert torch.equal(stored.tensors["weight"], before)


def test_types_are_those_that_were_promised() -> None:
    assert set(gguf.TYPES) == {
        *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16")
    }
    with pytest.raises(KeyError):
        gguf.row_bytes("IQ1_S", 256)
