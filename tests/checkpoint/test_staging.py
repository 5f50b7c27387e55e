"""Tensors on their way to a card: in order, whole, few ahead, and nothing left when it is broken off."""

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoint.quantized_files import official_state, small_model, write
from tests.checkpoint.slow_card import SlowCard
from wanvideo.checkpoint import staging
from wanvideo.checkpoint.file_places import FilePlaces
from wanvideo.checkpoint.load import load_transformer
from wanvideo.checkpoint.mapped import map_safetensors
from wanvideo.checkpoint.staging import Bundle, Carrier, Stage
from wanvideo.checkpoint.state import read_file
from wanvideo.registry import quantization_modes

PIECE = 1 << 12
AHEAD = 1 << 16
SMALL = 100
LARGE = 1 << 30  # more than all that the tests bring
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes all stages in the end: the readers of a test that failed would keep the process alive."""
    monkeypatch.setattr(staging, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(staging, "AHEAD_BYTES", AHEAD)
    monkeypatch.setattr(staging, "SMALL_BYTES", SMALL)
    made: list[Stage] = []
    begin = Stage.__init__

    def remembered(stage: Stage, card: SlowCard, size: int) -> None:
        begin(stage, card, size)
        made.append(stage)

    monkeypatch.setattr(Stage, "__init__", remembered)
    yield
    for stage in made:
        stage.close()


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
    stage = Stage(card, LARGE)
    for arrived, sent in zip(stage.bring(iter(given)), given, strict=True):
        assert arrived.keys() == sent.keys()
        for name, tensor in arrived.items():
            assert (tensor.dtype, tensor.shape) == (sent[name].dtype, sent[name].shape)
            assert tensor is not sent[name] and torch.equal(tensor.float(), sent[name].float())
    stage.close()
    assert max(card.sizes) == PIECE == card.lane_bytes and card.pieces > 4 * len(given)
    assert 1 < card.most_at_once <= card.lanes <= staging.READERS


def test_what_is_begun_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment for each bundle with a large tensor, as few pieces as there can be, all of about one size, and
    none for small tensors.
    """
    page = staging.PAGE
    monkeypatch.setattr(staging, "PIECE_BYTES", 8 * page)
    weight, small = torch.zeros(9 * page + 1, dtype=torch.uint8), torch.zeros(SMALL, dtype=torch.uint8)
    given = [{"weight": weight, "bias": small}, {"scale": small}, {"a": weight, "b": weight}]
    card = SlowCard()
    stage = Stage(card, LARGE)
    list(stage.bring(given))
    stage.close()
    assert (card.moments, card.smalls, card.pieces, card.waits) == (2, 2, 6, 6)
    assert sorted(card.sizes) == [4 * page + 1] * 3 + [5 * page] * 3 and card.lane_bytes == 8 * page
    Stage(card, page).close()
    assert card.lane_bytes <= 2 * page  # a small load takes little page-locked memory


def test_what_is_mapped_is_read_from_its_file(tmp_path: Path) -> None:
    """Not touched page by page: the readers find where the tensors lie. Copies of them lie nowhere."""
    tensors = {f"t{index}": tensor["weight"] for index, tensor in enumerate(bundles(6))}
    save_file(tensors, tmp_path / "file.safetensors")
    for mapped in (read_file(tmp_path / "file.safetensors"), map_safetensors(tmp_path / "file.safetensors")):
        places = FilePlaces()
        places.look()
        assert all(places.find(tensor) is not None for tensor in mapped.values())
        assert places.find(tensors["t0"]) is None
        places.close()
        stage = Stage(SlowCard(), LARGE)
        arrived = next(iter(stage.bring([mapped])))
        stage.close()
        for name, tensor in tensors.items():
            assert torch.equal(arrived[name].float(), tensor.float())


def test_a_file_that_is_gone_is_copied_from_memory(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3.0)}, tmp_path / "file.safetensors")
    mapped = read_file(tmp_path / "file.safetensors")
    (tmp_path / "file.safetensors").unlink()
    places = FilePlaces()
    places.look()
    assert places.find(mapped["a"]) is None
    stage = Stage(SlowCard(), LARGE)
    assert torch.equal(next(iter(stage.bring([mapped])))["a"], torch.arange(3.0))
    stage.close()


def test_only_a_few_are_ahead() -> None:
    taken = 0

    def given() -> Iterator[Bundle]:
        nonlocal taken
        for bundle in bundles():
            taken += 1
            yield bundle

    stage, sizes = Stage(SlowCard(), LARGE), [sum(t.nbytes for t in bundle.values()) for bundle in bundles()]
    for done, _ in enumerate(stage.bring(given()), start=1):
        ahead = sum(sizes[done:taken])
        assert ahead <= AHEAD + max(sizes) and (taken == len(sizes) or ahead > AHEAD - max(sizes))
    stage.close()
    assert taken == len(sizes)


def test_what_is_larger_than_all_that_may_be_ahead_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "AHEAD_BYTES", 1)
    stage, given = Stage(SlowCard(), LARGE), bundles(5)
    arrived = list(stage.bring(given))
    stage.close()
    assert all(
        torch.equal(one["weight"].float(), other["weight"].float())
        for one, other in zip(arrived, given, strict=True)
    )


def test_a_failure_is_told_and_a_broken_off_round_ends() -> None:
    before = threading.active_count()
    stage = Stage(SlowCard(fails_after=7), LARGE)
    with pytest.raises(RuntimeError, match="the card is lost"):
        list(stage.bring(bundles()))
    stage.close()
    assert threading.active_count() == before
    card = SlowCard()
    stage = Stage(card, LARGE)
    arriving = stage.bring(bundles())
    next(iter(arriving))
    arriving.close()  # type: ignore[attr-defined]  # a generator
    stage.close()
    assert card.under_way == 0 and threading.active_count() == before
    assert card.finished == card.lanes


def test_a_lane_that_cannot_be_made_is_told() -> None:
    stage = Stage(SlowCard(lanes_that_can_be_made=0), LARGE)
    with pytest.raises(RuntimeError, match="no lane is left"):
        list(stage.bring(bundles()))
    stage.close()


def test_a_file_that_got_shorter_is_told(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(40 * PIECE)}, tmp_path / "file.safetensors")
    mapped = read_file(tmp_path / "file.safetensors")
    with (tmp_path / "file.safetensors").open("r+b") as file:
        file.truncate(5 * PIECE)
    stage = Stage(SlowCard(), LARGE)
    with pytest.raises(OSError, match="shorter"):
        list(stage.bring([mapped]))
    stage.close()


def test_a_turned_tensor_of_a_file_is_not_read_as_the_file_has_it(tmp_path: Path) -> None:
    save_file({"a": torch.randn(64, 3 * PIECE // 64)}, tmp_path / "file.safetensors")
    mapped = read_file(tmp_path / "file.safetensors")["a"]
    stage = Stage(SlowCard(), LARGE)
    arrived = next(iter(stage.bring([{"turned": mapped.t()}])))
    stage.close()
    assert torch.equal(arrived["turned"], mapped.t())


def test_a_cpu_gets_the_mapped_tensors_themselves_one_by_one() -> None:
    given, taken = bundles(3), 0

    def source() -> Iterator[Bundle]:
        nonlocal taken
        for bundle in given:
            taken += 1
            yield bundle

    with closing(Carrier("cpu", LARGE)) as carrier:
        for index, bundle in enumerate(carrier.bring(source(), "cpu")):
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

    def card_of(_: torch.device) -> SlowCard:
        cards.append(SlowCard())
        return cards[-1]

    monkeypatch.setattr(staging, "card_of", card_of)
    before = threading.active_count()
    found = load_transformer(facts, mode=row).state_dict()
    assert len(cards) == 1 and cards[0].pieces and threading.active_count() == before
    assert cards[0].lanes == cards[0].finished <= staging.READERS  # the same for the linears and the rest
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name].float(), wanted[name].float()) for name in wanted)


@pytest.mark.parametrize("mode", [pytest.param(name, marks=GPU) for name in quantization_modes()])
def test_a_card_gets_what_plain_copies_give(mode: str, tmp_path: Path) -> None:
    facts, row = write(tmp_path / "a.safetensors", official_state(small_model())), quantization_modes()[mode]
    plain = load_transformer(facts, mode=row).state_dict()
    staged = load_transformer(facts, mode=row, device="cuda").state_dict()
    assert all(tensor.is_cuda for tensor in staged.values())
    assert all(torch.equal(staged[name].cpu().float(), tensor.float()) for name, tensor in plain.items())
