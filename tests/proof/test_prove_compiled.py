"""The trial of compiled blocks: what it finds right, what it finds wrong, and how a machine without a
compiler is told of.
"""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.plan_cases import CPU, GPU
from wanvideo import compile_trial
from wanvideo.cache_folder import VARIABLE
from wanvideo.compiled_blocks import FOLDER_VARIABLE, compiled_blocks
from wanvideo.proof import prove
from wanvideo.proof.kept import CompileProof, compile_trial_of, read_proofs
from wanvideo.proof.prove import prove_compiled


def plain(graph: torch.fx.GraphModule, _: object) -> Any:
    return graph.forward


def lying(graph: torch.fx.GraphModule, _: object) -> Any:
    return lambda *given: [item * 1.01 if item.is_floating_point() else item for item in graph(*given)]


def tried(mode: str, backend: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    torch._dynamo.reset()
    monkeypatch.setattr(compile_trial, "compiled_blocks", partial(compiled_blocks, backend=backend))
    return compile_trial.run_trial(compile_trial_of(mode, CPU))


@pytest.mark.parametrize("mode", ["disabled", "fp8_e4m3fn_scaled_fast"])
def test_a_right_compiler_is_found_right(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tried(mode, plain, monkeypatch)
    # In fp32 nothing but the rounding of what is written another way for the compiler.
    assert found.pop("fault") == "" and found["exact_error"] == pytest.approx(found["plain_error"], abs=1e-6)
    assert found["error"] < 1e-5 and found["milliseconds"] > 0 and found["compile_seconds"] > 0
    CompileProof(name=mode, usable=True, versions={}, **found)


def test_a_compiler_that_lies_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "its result is off by" in tried("disabled", lying, monkeypatch)["fault"]


def test_a_card_without_triton_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_trial.importlib.util, "find_spec", lambda _: None)
    assert compile_trial.run_trial(compile_trial_of("disabled", GPU)) == {"fault": "Triton not installed"}


def test_without_a_compiler_the_reason_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the real process; the second time none is started."""
    for name, place in ((VARIABLE, "cache"), (FOLDER_VARIABLE, "code"), ("CXX", "no_such_compiler")):
        monkeypatch.setenv(name, str(tmp_path / place))
    proof = prove_compiled("disabled", CPU)
    assert not proof.usable and "can't be compiled" in proof.reason and "compiler" in proof.reason
    assert str(tmp_path) not in proof.reason
    monkeypatch.setattr(prove, "run_isolated", None)
    assert prove_compiled("disabled", CPU) == proof == read_proofs(CPU).compiled["disabled"]
