"""Cards by name, and plans for one that is not here."""

import json

import pytest

from tests.memory.cases import GIB
from tests.plan_cases import CPU, TEXT, plan
from wanvideo.cli import main
from wanvideo.errors import UserError
from wanvideo.known_cards import ASSUMED_DRIVER, CARDS, assumed, card_of, find_card, is_assumed


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_every_card_is_found_by_its_name_and_by_the_drivers(card: object) -> None:
    from wanvideo.known_cards import KnownCard

    assert isinstance(card, KnownCard)
    assert find_card(card.name) == find_card(card.name.lower()) == card
    assert card_of(f"NVIDIA GeForce {card.name}", card.gib * GIB) == card
    assert card.tflops > 0 and card.gbs > 0


@pytest.mark.parametrize(
    ("name", "known", "gib"),
    [
        ("4090", "RTX 4090", 24),
        ("RTX 3060 12 GB", "RTX 3060", 12),
        ("RTX 3060 8GB", "RTX 3060 8GB", 8),
        ("NVIDIA GeForce RTX 5090", "RTX 5090", 32),
        ("a100", "A100 80GB", 80),
    ],
)
def test_names_people_give(name: str, known: str, gib: int) -> None:
    assert (find_card(name).name, find_card(name).gib) == (known, gib)


@pytest.mark.parametrize(
    ("name", "near"), [("RTX 4095", "RTX 4090"), ("RTX 4090 Super", "RTX 4090"), ("", "")]
)
def test_an_unknown_card_is_refused_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown card.*{near}"):
        find_card(name)


def test_names_of_the_driver_that_are_no_known_card() -> None:
    assert card_of("NVIDIA A100-SXM4-40GB", 40 * GIB) == find_card("A100 40GB")
    assert card_of("Radeon") is None


def test_a_plan_for_another_card_says_that_it_is_expected() -> None:
    machine = assumed(CPU, "RTX 4090")
    assert is_assumed(machine) and not is_assumed(CPU)
    assert machine.device == "cuda" and machine.gpus[0].driver == ASSUMED_DRIVER
    made = plan(TEXT, machine=machine)
    assert made.device == "cuda" and any("RTX 4090 is assumed" in note for note in made.notes)


def test_the_command_line_plans_for_another_card(capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["plan", "--preset", "pocket_text", "--assume-gpu"]
    assert main([*asked, "RTX 4090", "--json"]) == 0
    answer = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert answer["effective"]["device"] == "cuda"
    assert any("assumed" in note for note in answer["notes"])
    assert main([*asked, "RTX 4096"]) == 2
    assert "RTX 4090" in capfd.readouterr().err
