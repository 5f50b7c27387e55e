"""Whether the model's blocks are compiled for a job: what was asked, what a trial has shown, and whether the
job is long enough to pay for it.
"""

from dataclasses import dataclass, replace

from wanvideo.effective_mode import EffectiveMode
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.memory import constants
from wanvideo.memory.decide import DecidedMemory, decide_memory
from wanvideo.memory.kept import known_speed
from wanvideo.memory.stages import DENOISE
from wanvideo.memory.work import Job
from wanvideo.options import COMPILE_AUTO, COMPILE_BLOCKS, COMPILE_OFF, RuntimeOptions
from wanvideo.proof.kept import MachineProofs

ASKED = "as was asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileChoice:
    """`blocks`: they are compiled; `reason` says in a few words why, or why not. `needs_trial`: it depends on
    a trial that was never made here. `notes` are sentences without a full stop.
    """

    blocks: bool = False
    reason: str = ASKED
    needs_trial: bool = False
    notes: tuple[str, ...] = ()

    def effective(self) -> dict[str, str]:
        """For the metadata and the result card."""
        return {"compile": COMPILE_BLOCKS if self.blocks else COMPILE_OFF, "compile_reason": self.reason}


def decide_compile(
    job: Job,
    options: RuntimeOptions,
    machine: Hardware,
    mode: EffectiveMode,
    proofs: MachineProofs | None,
    requantized: int,
) -> tuple[CompileChoice, DecidedMemory]:
    """The choice, and the memory and time of the job with it. `mode` and `requantized` are as for
    `decide_memory`. Raises UserError, with `strict`, where compiling was asked for and can't be.
    """

    def decided(job: Job) -> DecidedMemory:
        return decide_memory(job, options, machine, known_speed(proofs), requantized)

    plain = decided(job)
    saved = _saved_seconds(job, plain)
    choice = _choose(options, machine, mode, proofs, saved)
    if not choice.blocks:
        return choice, plain
    job = job.as_compiled()
    fast, seconds = decided(job), _compile_seconds(job, mode, proofs)
    return choice, replace(fast, forecast=replace(fast.forecast, compile_seconds=seconds))


def _compile_seconds(job: Job, mode: EffectiveMode, proofs: MachineProofs | None) -> float:
    """Of the last such job that compiled, before the first one of the trial; 0 where there is neither."""
    trial = proofs.compiled.get(mode.mode.name) if proofs else None
    in_trial = trial.compile_seconds if trial else None
    return known_speed(proofs).compiling.get(job.kind) or in_trial or 0.0


def _choose(
    options: RuntimeOptions,
    machine: Hardware,
    mode: EffectiveMode,
    proofs: MachineProofs | None,
    saved: float,
) -> CompileChoice:
    if options.compile == COMPILE_OFF:
        return CompileChoice()
    is_auto = options.compile == COMPILE_AUTO
    idle = _not_worth_it(options, machine, saved) if is_auto else None
    if idle is not None:
        return CompileChoice(reason=idle)
    obstacle, untried = _obstacle(options, mode, proofs, is_auto=is_auto)
    if obstacle is None:
        worth = f"saves about {saved:.0f} s, a first time takes about {constants.COMPILE_SECONDS} s"
        return CompileChoice(blocks=True, needs_trial=untried, reason=worth if is_auto else ASKED)
    if options.strict and not is_auto:
        raise UserError(f"the blocks can't be compiled here: {obstacle}", fix="Set compile to auto.")
    note = f"compile: {obstacle}; auto leaves it out"
    if not is_auto:
        note = f"compile: {obstacle}; the blocks run as they are"
    return CompileChoice(needs_trial=untried, reason=obstacle, notes=(note,))


def _saved_seconds(job: Job, plain: DecidedMemory) -> float:
    """Of the forecast for blocks that are not compiled."""
    denoise = plain.forecast.stages[DENOISE].seconds
    return denoise * (1 - constants.COMPILED_SHARE.get(job.matmul, constants.COMPILED_SHARE[""]))


def _not_worth_it(options: RuntimeOptions, machine: Hardware, saved: float) -> str | None:
    """Why "auto" does not think of it."""
    if not options.auto_hardware_tuning:
        return "automatic tuning is off"
    if machine.device == "cpu":
        return "auto compiles on a card alone"
    if saved < constants.COMPILE_SECONDS:
        return f"would save about {saved:.0f} s, a first time takes about {constants.COMPILE_SECONDS} s"
    return None


def _obstacle(
    options: RuntimeOptions, mode: EffectiveMode, proofs: MachineProofs | None, *, is_auto: bool
) -> tuple[str | None, bool]:
    """(why not, whether a trial has to tell). "auto" waits for a good trial, as it does with kernels."""
    if options.force_contiguous_tensors:
        return "force_contiguous_tensors looks at tensors that compiled code hides", False
    if proofs is None:
        return None, False
    proof = proofs.compiled.get(mode.mode.name)
    if proof is None:
        return ("not tested on this machine yet; the next video tests it" if is_auto else None), True
    if not proof.usable:
        return proof.finding, False
    if is_auto and proof.slower:
        return "in a test on this machine it was slower", False
    return None, False
