"""Tensors on their way to a card: in order, whole, few ahead, and nothing left when it is broken off."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.checkpoint.quantized_files import official_state, small_model, write
from wanvideo.checkpoint import staging
from wanvideo.checkpoint.file_places import FilePlaces
from wanvideo.checkpoint.load import load_transformer
from wanvideo.checkpoint.mapped import map_safetensors
from wanvideo.checkpoint.staging import Bundle, Stage, on_device
from wanvideo.checkpoint.state import read_file
from wanvideo.registry import quantization_modes

PIECE = 1 << 12
AHEAD = 1 << 16
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]


class SlowCard:
    """Main memory that pieces reach late and in any order."""

    def __init__(self, fails_after: int = 1 << 30) -> None:
        self.random, self.left = Random(0), fails_after
        self.moments = self.pieces = self.lanes = self.under_way = 0
        self.largest_piece = self.most_at_once = 0
        self.lock = threading.Lock()

    def moment(self) -> int:
        self.moments += 1
        return self.moments

    def empty(self, tensor: Tensor) -> Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype)

    def lane(self) -> "SlowCard":
        with self.lock:
            self.lanes += 1
        return self

    def carry(self, fill: Any, target: Tensor, free: Any) -> None:
        with self.lock:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("the card is lost")
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
            self.pieces, self.largest_piece = self.pieces + 1, max(self.largest_piece, target.numel())
            wait = self.random.uniform(0, 0.003)
        time.sleep(wait)
        fill(target.numpy())
        assert 0 < free <= self.moments
        with self.lock:
            self.under_way -= 1


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(staging, "AHEAD_BYTES", AHEAD)


def bundles(count: int = 40) -> list[Bundle]:
    generator = torch.Generator().manual_seed(0)
    made: list[Bundle] = []
    for index in range(count):
        weight = torch.randn(17 + index, 3 * PIECE // 64, generator=generator)
        made.append(
            {
                "weight": weight.to(torch.bfloat16 if index % 2 else torch.float8_e4m3fn),
                "turned": weight.t()[:5],
                "scale": weight[0, 0],
                "none": weight[:0],
            }
        )
    return made


def test_all_arrives_in_order_and_whole() -> None:
    card, given = SlowCard(), bundles()
    stage = Stage(card)
    for arrived, sent in zip(stage.bring(iter(given)), given, strict=True):
        assert arrived.keys() == sent.keys()
        for name, tensor in arrived.items():
            assert (tensor.dtype, tensor.shape) == (sent[name].dtype, sent[name].shape)
            assert tensor is not sent[name] and torch.equal(tensor.float(), sent[name].float())
    stage.close()
    assert card.largest_piece == PIECE and card.pieces > 5 * len(given)
    assert 1 < card.most_at_once <= card.lanes <= staging.READERS


def test_what_is_mapped_is_read_from_its_file(tmp_path: Path) -> None:
    """Not touched page by page: the readers find where the tensors lie. Copies of them lie nowhere."""
    tensors = {f"t{index}": tensor["weight"] for index, tensor in enumerate(bundles(6))}
    save_file(tensors, tmp_path / "file.safetensors")
    for mapped in (read_file(tmp_path / "file.safetensors"), map_safetensors(tmp_path / "file.safetensors")):
        places = FilePlaces()
        assert all(places.find(tensor) is not None for tensor in mapped.values())
        assert places.find(tensors["t0"]) is None
        places.close()
        stage = Stage(SlowCard())
        arrived = next(iter(stage.bring([mapped])))
        stage.close()
        for name, tensor in tensors.items():
            assert torch.equal(arrived[name].float(), tensor.float())


def test_a_file_that_is_gone_is_copied_from_memory(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3.0)}, tmp_path / "file.safetensors")
    mapped = read_file(tmp_path / "file.safetensors")
    (tmp_path / "file.safetensors").unlink()
    places = FilePlaces()
    assert places.find(mapped["a"]) is None
    stage = Stage(SlowCard())
    assert torch.equal(next(iter(stage.bring([mapped])))["a"], torch.arange(3.0))
    stage.close()


def test_only_a_few_are_ahead() -> None:
    taken = 0

    def given() -> Iterator[Bundle]:
        nonlocal taken
        for bundle in bundles():
            taken += 1
            yield bundle

    stage, sizes = Stage(SlowCard()), [sum(t.nbytes for t in bundle.values()) for bundle in bundles()]
    for done, _ in enumerate(stage.bring(given()), start=1):
        ahead = sum(sizes[done:taken])
        assert ahead <= AHEAD + max(sizes) and (taken == len(sizes) or ahead > AHEAD - max(sizes))
    stage.close()
    assert taken == len(sizes)


def test_what_is_larger_than_all_that_may_be_ahead_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "AHEAD_BYTES", 1)
    stage, given = Stage(SlowCard()), bundles(5)
    arrived = list(stage.bring(given))
    stage.close()
    assert all(
        torch.equal(one["weight"].float(), other["weight"].float())
        for one, other in zip(arrived, given, strict=True)
    )


def test_a_failure_is_told_and_a_broken_off_round_ends() -> None:
    before = threading.active_count()
    stage = Stage(SlowCard(fails_after=7))
    with pytest.raises(RuntimeError, match="the card is lost"):
        list(stage.bring(bundles()))
    stage.close()
    card = SlowCard()
    stage = Stage(card)
    arriving = stage.bring(bundles())
    next(iter(arriving))
    stage.close()
    assert card.under_way == 0 and threading.active_count() == before


def test_a_cpu_gets_the_mapped_tensors_themselves_one_by_one() -> None:
    given, taken = bundles(3), 0

    def source() -> Iterator[Bundle]:
        nonlocal taken
        for bundle in given:
            taken += 1
            yield bundle

    with closing(on_device(source(), "cpu")) as arriving:
        for index, bundle in enumerate(arriving):
            assert taken == index + 1
            assert all(bundle[name] is tensor for name, tensor in given[index].items())


@pytest.mark.parametrize("mode", ["disabled", "fp8_e4m3fn_scaled", "fp4_scaled"])
def test_a_model_loaded_by_way_of_a_stage_is_the_same(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Main memory stands for the card, whose name is not asked for."""
    facts, row = write(tmp_path / "a.safetensors", official_state(small_model())), quantization_modes()[mode]
    wanted = load_transformer(facts, mode=row).state_dict()
    cards: list[SlowCard] = []

    def staged(given: Any, _device: Any) -> Iterator[Bundle]:
        cards.append(SlowCard())
        stage = Stage(cards[-1])
        yield from stage.bring(given)
        stage.close()

    for module in ("load", "quantized_linears"):
        monkeypatch.setattr(f"wanvideo.checkpoint.{module}.on_device", staged)
    found = load_transformer(facts, mode=row).state_dict()
    assert len(cards) == 2 and all(card.pieces for card in cards)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name].float(), wanted[name].float()) for name in wanted)


@pytest.mark.parametrize("mode", [pytest.param(name, marks=GPU) for name in quantization_modes()])
def test_a_card_gets_what_plain_copies_give(mode: str, tmp_path: Path) -> None:
    facts, row = write(tmp_path / "a.safetensors", official_state(small_model())), quantization_modes()[mode]
    plain = load_transformer(facts, mode=row).state_dict()
    staged = load_transformer(facts, mode=row, device="cuda").state_dict()
    assert all(tensor.is_cuda for tensor in staged.values())
    assert all(torch.equal(staged[name].cpu().float(), tensor.float()) for name, tensor in plain.items())
