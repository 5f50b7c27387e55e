"""Kernels that crash and lie: each gets its verdict in a process of its own."""

from pathlib import Path

import pytest

from tests.proof import fake_provider
from tests.proof.fake_provider import CPU, kept
from wanvideo.proof.prove import prove_attention

VERDICTS = {
    "crashes": "it crashed (SIGSEGV)",
    "gives_nan": "its result has numbers that are not finite",
    "gives_a_mean": "its result is not attention: cosine 0.",
    "changes_its_key": "it changes the tensors that it is given",
}


@pytest.mark.parametrize("name", VERDICTS)
def test_backend_that_fails_gets_its_reason_in_words(site: Path, name: str) -> None:
    proof = prove_attention(name, CPU)
    assert not proof.usable
    assert proof.reason.startswith(VERDICTS[name])
    assert len(kept(site)) == 1


@pytest.mark.usefixtures("site")
def test_right_backend_is_usable_and_timed() -> None:
    proof = prove_attention("right", CPU)
    assert proof.usable and proof.reason == ""
    assert proof.computed_by == "right"
    assert proof.cosine == pytest.approx(1) and proof.small_cosine == pytest.approx(1)
    assert proof.milliseconds and proof.peer_milliseconds
    assert proof.versions[fake_provider.PACKAGE].startswith("1.0, installed 2")
