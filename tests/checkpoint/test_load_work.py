"""What loading costs the thread that computes, in calls of torch: every one of them hands the interpreter's
lock to the readers and asks for it again.
"""

import gc
from pathlib import Path

import pytest

from tests.checkpoint.quantized_files import official_state, small_model, write
from tests.checkpoint.slow_card import SlowCard
from tests.test_work_counts import Counting
from wanvideo.checkpoint import staging
from wanvideo.checkpoint.load import load_transformer
from wanvideo.registry import quantization_modes

LINEARS_OF_A_BLOCK = 12  # two of them for the picture
# Of all a block has, for each linear: the check for damage, the empty module, memory, views, parameters, the
# mode's own arithmetic.
CALLS = {"disabled": 70, "fp8_e4m3fn_scaled": 84}


def calls(blocks: int, mode: str, folder: Path) -> int:
    model = small_model(audio=False, num_layers=blocks)
    facts = write(folder / f"{blocks}.safetensors", official_state(model))
    with Counting() as counting:
        load_transformer(facts, mode=quantization_modes()[mode])
    return sum(counting.ops.values())


@pytest.mark.parametrize("mode", CALLS)
def test_calls_for_each_linear_are_few(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All else of a block is counted with them."""
    card = SlowCard()
    monkeypatch.setattr(staging, "SMALL_BYTES", 256)
    monkeypatch.setattr(staging, "card_of", lambda _: card)
    added = calls(3, mode, tmp_path) - calls(1, mode, tmp_path)
    assert card.pieces and added / 2 / LINEARS_OF_A_BLOCK <= CALLS[mode]


def test_no_collection_while_a_model_is_loaded(tmp_path: Path) -> None:
    facts = write(tmp_path / "a.safetensors", official_state(small_model(audio=False)))
    seen: list[bool] = []

    def watch(done: int, _total: int) -> None:
        seen.append(gc.isenabled())
        if done == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        load_transformer(facts, progress=watch)
    assert seen == [False] * 4 and gc.isenabled()
    gc.disable()
    try:
        load_transformer(facts)
        assert not gc.isenabled()
    finally:
        gc.enable()
