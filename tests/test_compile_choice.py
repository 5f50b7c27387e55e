"""Whether blocks are compiled: asked for or automatic, on which machine, after which trial, for how long a
job.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.plan_cases import CPU, GPU, NOTHING, REAL, TEXT, Values
from ui.language import speaking
from ui.texts.notes import in_parts
from wanvideo import prepare as preparing
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.memory import constants
from wanvideo.memory.kept import MachineKnowledge
from wanvideo.memory.rates import Calibration
from wanvideo.memory.stages import DENOISE
from wanvideo.options import COMPILE_AUTO, COMPILE_BLOCKS, COMPILE_OFF
from wanvideo.plan import GenerationPlan, make_plan
from wanvideo.prepare import prepare
from wanvideo.proof.kept import AttentionProof, CompileProof, MatmulProof
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.request import OPTION_FIELDS, read_options, read_request
from wanvideo.wording import describe_plan

LONG, SHORT = {**TEXT, "num_inference_steps": 50}, {**TEXT, "num_inference_steps": 1, "num_frames": 5}
GOOD: Values = {"usable": True, "milliseconds": 2.0, "peer_milliseconds": 3.0}
BAD: Values = {"usable": False, "reason": "Triton not installed"}
SLOW: Values = {**GOOD, "milliseconds": 4.0}


def knowledge(outcome: Values | None) -> MachineKnowledge:
    """All modes and backends work here; compiled blocks do as `outcome` says, None is untried."""
    modes, backends = quantization_modes(), attention_backends()
    fine: Values = {"usable": True, "versions": {}}
    return MachineKnowledge(
        attention={name: AttentionProof(name=name, **fine) for name in backends},
        quantization={name: MatmulProof(name=name, **fine) for name in modes},
        compiled={name: CompileProof(name=name, versions={}, **outcome) for name in modes} if outcome else {},
        calibration=Calibration(),
    )


def made(
    asked: Values, machine: Hardware, options: Values, proofs: MachineKnowledge | None
) -> GenerationPlan:
    request = read_request({"seed": 7, **asked})
    return make_plan(request, read_options(options), NOTHING, REAL, machine, REAL.tokenizer, proofs)


def notes(plan: GenerationPlan) -> list[str]:
    return [note for note in plan.notes if note.startswith("compile:")]


def test_every_choice_is_decided() -> None:
    assert set(OPTION_FIELDS["compile"].choices) == {COMPILE_AUTO, COMPILE_OFF, COMPILE_BLOCKS}
    for choice in OPTION_FIELDS["compile"].choices:
        told = made(LONG, GPU, {"compile": choice}, knowledge(GOOD)).effective()
        assert told["compile"] == (COMPILE_OFF if choice == COMPILE_OFF else COMPILE_BLOCKS)


@pytest.mark.parametrize(
    ("asked", "machine", "options", "outcome", "on", "reason", "said"),
    [
        (LONG, GPU, {}, GOOD, True, "saves about", False),
        (SHORT, GPU, {}, GOOD, False, "would save about 0 s", False),
        (LONG, CPU, {}, GOOD, False, "on a card alone", False),
        (LONG, GPU, {"auto_hardware_tuning": False}, GOOD, False, "automatic tuning is off", False),
        (LONG, GPU, {}, None, False, "not tested on this machine yet", True),
        (LONG, GPU, {}, BAD, False, "Triton not installed", True),
        (LONG, GPU, {}, SLOW, False, "slower", True),
        (LONG, GPU, {"force_contiguous_tensors": True}, GOOD, False, "force_contiguous_tensors", True),
        (SHORT, GPU, {"compile": "blocks"}, GOOD, True, "as was asked", False),
        (SHORT, CPU, {"compile": "blocks"}, GOOD, True, "as was asked", False),
        (SHORT, GPU, {"compile": "blocks"}, None, True, "as was asked", False),
        (SHORT, GPU, {"compile": "blocks"}, SLOW, True, "as was asked", False),
        (LONG, GPU, {"compile": "blocks"}, BAD, False, "Triton not installed", True),
        (LONG, GPU, {"compile": "off"}, GOOD, False, "as was asked", False),
    ],
)
def test_what_is_compiled(
    asked: Values, machine: Hardware, options: Values, outcome: Any, on: bool, reason: str, said: bool
) -> None:
    plan = made(asked, machine, options, knowledge(outcome))
    assert plan.compile.blocks == on and reason in plan.compile.reason
    assert bool(notes(plan)) == said and all(reason in note for note in notes(plan))


@pytest.mark.parametrize("outcome", [GOOD, BAD, SLOW, None])
@pytest.mark.parametrize("options", [{}, {"compile": "blocks"}, {"compile": "off"}])
def test_a_trial_is_asked_for_where_it_decides(options: Values, outcome: Any) -> None:
    plan = made(LONG, GPU, options, knowledge(outcome))
    assert plan.compile.needs_trial == (outcome is None and options.get("compile") != COMPILE_OFF)
    assert not made(SHORT, GPU, {}, knowledge(None)).compile.needs_trial


@pytest.mark.parametrize(("options", "outcome"), [({}, BAD), ({"force_contiguous_tensors": True}, GOOD)])
def test_strict_refuses_what_was_asked_for_alone(options: Values, outcome: Values) -> None:
    strict = {**options, "strict": True}
    assert not made(LONG, GPU, strict, knowledge(outcome)).compile.blocks
    with pytest.raises(UserError, match="the blocks can't be compiled here"):
        made(LONG, GPU, {**strict, "compile": "blocks"}, knowledge(outcome))


def test_what_compiling_took_is_told_apart() -> None:
    """Of the trial, until a job of this kind has compiled."""

    def told(proofs: MachineKnowledge, **options: Any) -> tuple[float, str]:
        plan = made(LONG, GPU, options, proofs)
        return plan.forecast.compile_seconds, dict(describe_plan(plan)).get("compiling", "")

    tried = knowledge({**GOOD, "compile_seconds": 40.0})
    kind = made(LONG, GPU, {}, tried).kind
    known = replace(tried, calibration=Calibration(compiling={kind: 7.0, "another": 9.0}))
    assert told(tried) == (40.0, "about 40 seconds more, where it was not done yet")
    assert told(known) == (7.0, "about 7 seconds more, where it was not done yet")
    assert told(known, compile=COMPILE_OFF) == (0.0, "") == told(knowledge(GOOD))
    with speaking("zh"):
        assert in_parts(told(known)[1]) == "另需约 7 秒，仅在尚未编译时"
    forecasts = [made(LONG, GPU, {}, proofs).forecast.seconds for proofs in (tried, known, knowledge(GOOD))]
    assert len(set(forecasts)) == 1


@pytest.mark.parametrize(("mode", "kind"), [("disabled", ""), ("fp8_e4m3fn_fast", "fast")])
def test_time_and_kind_are_those_of_compiled_blocks(mode: str, kind: str) -> None:
    how = {"quantization": mode}
    off, on = (made(LONG, GPU, {**how, "compile": choice}, knowledge(GOOD)) for choice in ("off", "blocks"))
    share = on.forecast.stages[DENOISE].seconds / off.forecast.stages[DENOISE].seconds
    assert share == pytest.approx(constants.COMPILED_SHARE[kind], abs=0.01)
    assert off.kind != on.kind and off.shaping() == on.shaping()  # a job that goes on takes up its windows
    others = [name for name in off.forecast.stages if name != DENOISE]
    assert all(on.forecast.stages[name] == off.forecast.stages[name] for name in others)


def test_a_job_is_worth_it_from_the_seconds_on_that_it_takes_to_compile() -> None:
    proofs = knowledge(GOOD)
    eager = made(LONG, GPU, {"compile": "off"}, proofs)
    saved = (1 - constants.COMPILED_SHARE[""]) * eager.forecast.stages[DENOISE].seconds
    for factor, on in ((0.9, False), (1.1, True)):
        times = {DENOISE: factor * constants.COMPILE_SECONDS / saved}
        quick = replace(proofs, calibration=Calibration(corrections={eager.kind: times}))
        assert made(LONG, GPU, {}, quick).compile.blocks == on


@pytest.mark.parametrize("outcome", [GOOD, BAD])
def test_what_is_asked_for_is_tried_before_the_first_job(
    outcome: Values, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, for all variations; a plan that is only shown tries nothing."""
    tried: list[str] = []

    def prove(name: str, machine: Hardware) -> CompileProof:  # noqa: ARG001 - as the real one
        tried.append(name)
        return CompileProof(name=name, versions={}, **outcome)

    monkeypatch.setattr(preparing, "prove_compiled", prove)
    monkeypatch.setattr(preparing, "probe_hardware", lambda: CPU)
    request = read_request({**TEXT, "prompt": "a ball", "seed": 1, "count": 2})
    options = read_options({"compile": "blocks", "output_dir": str(tmp_path)})
    (shown, _) = prepare(request, options)
    assert shown.compile.needs_trial and not tried
    plans = prepare(request, options, tries_kernels=True)
    assert tried == [plans[0].quantization]
    assert [plan.compile.blocks for plan in plans] == [outcome["usable"]] * 2
    assert all(bool(notes(plan)) != plan.compile.blocks for plan in plans)
