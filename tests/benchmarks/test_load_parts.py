"""Parts of a load: the same work around it, and nothing of the file arrives."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.load_parts import PARTS, only_part
from tests.checkpoint.slow_card import SlowCard
from wanvideo.checkpoint import staging
from wanvideo.checkpoint.staging import Bundle, Carrier
from wanvideo.checkpoint.state import read_file

SIZE = 300_000  # above what is copied without a reader


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_copied(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card, read = SlowCard(), list[int]()
    monkeypatch.setattr(staging, "card_of", lambda _: card)
    monkeypatch.setattr(staging, "read_into", lambda *given: read.append(len(given[-1])))
    file = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(SIZE, dtype=torch.uint8)}, file)

    def load() -> list[Bundle]:
        carrier = Carrier("cuda", SIZE)
        try:
            return list(carrier.bring([{"weight": read_file(file)["weight"]}], "cuda"))
        finally:
            carrier.close()

    (bundle,) = only_part(part, load)()
    assert bundle["weight"].eq(254).all()  # as the card gave the memory
    assert card.pieces == len(read) > 0 and set(card.sizes) == {0}
    assert sum(read) == (SIZE if PARTS[part] else 0)
    assert staging.card_of(torch.device("cuda")) is card
