"""Which attention runs, from what trials on the machine have shown: over the real table, each row made
available.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.plan_cases import REAL
from wanvideo import prepare
from wanvideo.cache_folder import VARIABLE
from wanvideo.errors import UserError
from wanvideo.fallback import AUTO, AUTO_NAMES, choose, next_untried
from wanvideo.hardware import Gpu, Hardware
from wanvideo.proof.kept import AttentionProof
from wanvideo.registry import AttentionBackend, attention_backends
from wanvideo.request import RuntimeOptions

CARD = Gpu(name="RTX 4090", compute_capability=(8, 9), total_bytes=1, free_bytes=1, driver="580")
GPU = Hardware(gpus=(CARD,), cpu="", cores=1, ram_bytes=1, free_ram_bytes=1, system="")
CPU = replace(GPU, gpus=())
TABLE = {name: replace(row, unavailable_reason=lambda _: None) for name, row in attention_backends().items()}
EXACT = next(row for row in TABLE.values() if row.fallback is None)
PREFERRED = [row for row in TABLE.values() if row.priority > EXACT.priority]
OTHERS = [row for row in TABLE.values() if row is not EXACT]


def proof(name: str, *, ratio: float = 2.0, reason: str = "") -> AttentionProof:
    times = {} if reason else {"milliseconds": 1.0, "peer_milliseconds": ratio}
    return AttentionProof(name=name, usable=not reason, reason=reason, versions={}, **times)


def proofs(**changed: AttentionProof) -> dict[str, AttentionProof]:
    """All backends work and are twice as fast, but for those."""
    return {row.name: proof(row.name) for row in OTHERS} | changed


def chosen(name: str, known: Mapping[str, AttentionProof], strict: bool = False) -> tuple[str, list[str]]:
    notes: list[str] = []
    return choose(TABLE, name, "attention", GPU, strict, notes, known).name, notes


def test_table_has_rows_on_both_sides_of_the_exact_one() -> None:
    assert len(PREFERRED) > 2 and len(OTHERS) > len(PREFERRED)


@pytest.mark.parametrize("row", OTHERS, ids=lambda row: row.name)
def test_backend_that_failed_is_stepped_over_with_its_reason(row: AttentionBackend) -> None:
    known = proofs(**{row.name: proof(row.name, reason="it crashed (SIGSEGV)")})
    told = f"in a test on this machine it crashed (SIGSEGV); {row.fallback} runs instead"
    assert chosen(row.name, known) == (row.fallback, [f"{row.name}: {told}"])
    assert row.name != chosen(AUTO, known)[0]
    with pytest.raises(UserError, match="can't run here: in a test on this machine it crashed"):
        chosen(row.name, known, strict=True)


@pytest.mark.parametrize("row", OTHERS, ids=lambda row: row.name)
def test_backend_that_works_or_was_not_tried_runs_when_asked_for(row: AttentionBackend) -> None:
    for known in (proofs(), {}, proofs(**{row.name: proof(row.name, ratio=0.5)})):
        assert chosen(row.name, known, strict=True) == (row.name, [])


@pytest.mark.parametrize("name", AUTO_NAMES)
def test_auto_takes_the_first_that_works(name: str) -> None:
    assert chosen(name, proofs()) == (PREFERRED[0].name, [])
    for index, row in enumerate(PREFERRED[:-1]):
        failed = {r.name: proof(r.name, reason="it lies") for r in PREFERRED[: index + 1]}
        backend, notes = chosen(name, proofs(**failed))
        assert backend == PREFERRED[index + 1].name
        assert notes[-1] == f"{row.name}: left out, in a test on this machine it lies"
        assert len(notes) == index + 1


def test_auto_never_takes_a_slower_or_an_untried_one() -> None:
    slow = {row.name: proof(row.name, ratio=0.99) for row in OTHERS}
    assert chosen(AUTO, slow) == (EXACT.name, [])
    backend, notes = chosen(AUTO, {})
    assert backend == EXACT.name
    assert [note.partition(":")[0] for note in notes] == [row.name for row in PREFERRED]
    assert all("not tested on this machine yet" in note for note in notes)


def test_without_a_word_on_trials_the_machine_alone_decides() -> None:
    notes: list[str] = []
    assert choose(TABLE, AUTO, "attention", GPU, False, notes) is PREFERRED[0]
    assert notes == []


def walk(name: str, outcomes: Mapping[str, AttentionProof]) -> list[str]:
    """Names in the order in which they are tried until the choice is clear."""
    known: dict[str, AttentionProof] = {}
    while (row := next_untried(TABLE, name, GPU, known)) is not None:
        assert row.name not in known
        known[row.name] = outcomes[row.name]
    return list(known)


@pytest.mark.parametrize("good", range(len(PREFERRED)))
def test_no_more_is_tried_than_the_choice_needs(good: int) -> None:
    failed = {row.name: proof(row.name, reason="it lies") for row in PREFERRED[:good]}
    names = [row.name for row in PREFERRED[: good + 1]]
    assert walk(AUTO, proofs(**failed)) == names
    slow = {row.name: proof(row.name, ratio=0.9) for row in PREFERRED[:good]}
    assert walk(AUTO, proofs(**slow)) == names


@pytest.mark.parametrize("row", OTHERS, ids=lambda row: row.name)
def test_backend_asked_for_is_tried_down_to_the_first_that_works(row: AttentionBackend) -> None:
    assert walk(row.name, proofs()) == [row.name]
    chain = []
    while row.fallback is not None:
        chain.append(row.name)
        row = TABLE[row.fallback]
    assert walk(chain[0], {name: proof(name, reason="it lies") for name in TABLE}) == chain


def test_exact_attention_needs_no_trial() -> None:
    assert walk(EXACT.name, {}) == []


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the backends that `prepare` tries; none of them works."""
    names: list[str] = []

    def fail(name: str, _: Hardware) -> AttentionProof:
        names.append(name)
        return proof(name, reason="it lies")

    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(prepare, "attention_backends", lambda: TABLE)
    monkeypatch.setattr(prepare, "prove_attention", fail)
    yield names


def test_plan_to_be_carried_out_tries_what_it_needs(tried: list[str]) -> None:
    known = prepare._proofs(RuntimeOptions(), REAL, GPU, True).attention
    assert tried == [row.name for row in PREFERRED] == list(known)
    assert chosen(AUTO, known)[0] == EXACT.name


@pytest.mark.parametrize(("machine", "tries"), [(GPU, False), (CPU, True)])
def test_plan_to_look_at_and_a_machine_without_a_card_try_nothing(
    tried: list[str], machine: Hardware, tries: bool
) -> None:
    assert prepare._proofs(RuntimeOptions(), REAL, machine, tries).attention == {}
    assert tried == []
