"""What is remembered of a trial, for how long, and what is told of it."""

import json
from pathlib import Path

import pytest

from tests.proof import fake_provider
from tests.proof.fake_provider import CPU, kept
from wanvideo.hardware import Gpu, Hardware
from wanvideo.proof.isolated import Ending, run_isolated, why_it_failed, without_paths
from wanvideo.proof.kept import ATTENTION, AttentionProof, read_proof, read_proofs, trial_of, write_proof
from wanvideo.proof.prove import prove_attention
from wanvideo.proof.versions import versions_of

CARD = Gpu(name="RTX 4090", compute_capability=(8, 9), total_bytes=1, free_bytes=1, driver="580")


@pytest.fixture
def trials(site: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: ARG001 - its folders are used
    """Names of the trials made; they are quick and all go well."""
    made: list[str] = []

    def count(arguments: list[str], _: float) -> Ending:
        made.append(arguments[1])
        return Ending(code=0, answers=({"fault": "", "cosine": 1.0, "computed_by": "x"},), last_words="")

    monkeypatch.setattr("wanvideo.proof.prove.run_isolated", count)
    return made


@pytest.mark.usefixtures("site")
def test_full_memory_is_no_verdict_for_good(site: Path) -> None:
    assert prove_attention("has_no_memory", CPU).reason == "OutOfMemoryError: CUDA out of memory"
    assert kept(site) == []


def test_proof_is_made_once(trials: list[str]) -> None:
    first = prove_attention("right", CPU)
    assert first.usable and prove_attention("right", CPU) == first
    assert trials == ["right"]


def test_proof_is_made_again_when_a_version_changes_or_when_asked(site: Path, trials: list[str]) -> None:
    changes = [
        lambda: prove_attention("right", CPU),
        lambda: prove_attention("right", CPU, again=True),
        lambda: prove_attention("right", CPU, head_dim=64),
        lambda: prove_attention("right", CPU, dtype="bf16"),
    ]
    for index, change in enumerate(changes):
        change()
        assert len(trials) == index + 1
    fake_provider.set_version(site, "1.1")
    assert prove_attention("right", CPU).versions[fake_provider.PACKAGE].startswith("1.1")
    assert len(trials) == len(changes) + 1


def test_changed_source_of_a_backend_is_another_version(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = versions_of(CPU)
    monkeypatch.setattr("wanvideo.attention.__path__", [str(site / "rows")])
    assert {name for name, told in versions_of(CPU).items() if told != before[name]} == {"kernels here"}


@pytest.mark.usefixtures("trials")
def test_proofs_of_this_machine_are_found_by_name() -> None:
    assert read_proofs(CPU).attention == {}
    proof = prove_attention("sdpa", CPU)
    assert read_proofs(CPU).attention == {"sdpa": proof}


def test_proof_holds_for_one_card_and_driver() -> None:
    machines = [
        Hardware(gpus=(card,), cpu="", cores=1, ram_bytes=1, free_ram_bytes=1, system="")
        for card in (
            CARD,
            Gpu(name="RTX 5090", compute_capability=(12, 0), total_bytes=1, free_bytes=1, driver="580"),
            Gpu(name="RTX 4090", compute_capability=(8, 9), total_bytes=1, free_bytes=1, driver="581"),
        )
    ]
    told = [json.dumps(versions_of(machine)) for machine in (CPU, *machines)]
    assert len(set(told)) == len(told)
    assert (
        trial_of(ATTENTION, "x", machines[0]).dtype == "bf16"
        and trial_of(ATTENTION, "x", CPU).dtype == "fp32"
    )


def test_kept_proof_that_is_broken_is_no_proof(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    versions = versions_of(CPU)
    trial, proof = (
        trial_of(ATTENTION, "right", CPU),
        AttentionProof(name="right", usable=True, versions=versions),
    )
    write_proof(trial, proof)
    assert read_proof(trial, versions, AttentionProof) == proof
    (file,) = site.parent.rglob("*.json")
    for text in ("{", "[]", '{"name": "right"}', '{"unheard": 1}'):
        file.write_text(text)
        assert read_proof(trial, versions, AttentionProof) is None
        assert "can't be read" in caplog.text


ENDINGS = [
    (Ending(code=None, answers=(), last_words=""), "it gave no answer within 9 seconds"),
    (Ending(code=-11, answers=(), last_words="x"), "it crashed (SIGSEGV)"),
    (Ending(code=-7, answers=(), last_words="x"), "it crashed (SIGBUS)"),
    (Ending(code=0xC0000005, answers=(), last_words=""), "it crashed (access violation)"),
    (Ending(code=3, answers=(), last_words="E: bad"), "its process ended with exit code 3: E: bad"),
    (Ending(code=0, answers=({"fault": "bad"},), last_words=""), "bad"),
    (Ending(code=0, answers=({"fault": ""},), last_words="warning"), ""),
]


@pytest.mark.parametrize(("ending", "reason"), ENDINGS)
def test_every_ending_has_its_words(ending: Ending, reason: str) -> None:
    assert why_it_failed(ending, 9.0) == reason
    assert not ending.says_nothing


def test_process_ended_by_the_system_says_nothing_of_the_backend() -> None:
    assert Ending(code=-9, answers=(), last_words="").says_nothing


def test_silent_exit_is_no_success() -> None:
    ending = run_isolated(["--help"], 60)
    assert ending.code == 0 and ending.answer is None
    assert why_it_failed(ending, 60).startswith("its process ended with exit code 0")


WITH_PATHS = [
    (f"OSError: {Path.home()}/deep/x.so: no such file", "OSError: x.so: no such file"),
    ("ImportError: /home/bob smith/x/lib.so: undefined symbol", "ImportError: lib.so: undefined symbol"),
    ("at /Users/bob", "at "),
    ("OSError: C:\\Users\\Ann Lee\\a\\b.dll is gone", "OSError: b.dll is gone"),
    (r"'C:\\Users\\Ann Lee\\b.dll'", "'b.dll'"),
    ("libX.so:/opt/inner/libz.so", "libX.so:libz.so"),
    ("torch 2.13, 3/4 of 16 GB, bf16/fp16", "torch 2.13, 3/4 of 16 GB, bf16/fp16"),
]


@pytest.mark.parametrize(("text", "expected"), WITH_PATHS)
def test_no_folder_is_told(text: str, expected: str) -> None:
    assert without_paths(text) == expected
