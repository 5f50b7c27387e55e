"""Step caches on real blocks: what is left out, what comes instead, and that branches keep to themselves."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.test_transformer import SMALL
from wanvideo.memory_plan import SwapPlan
from wanvideo.models.passes import Context, Pass
from wanvideo.models.transformer import WanTransformer
from wanvideo.placement.host_block import HostBlock
from wanvideo.placement.residence import Residence
from wanvideo.sampling.guidance import Branch
from wanvideo.step_cache.row import StepCachePlan, Steps
from wanvideo.step_cache.table import step_caches
from wanvideo.step_cache.window import PASSES, WindowCache, open_cache, with_passes

NAMES = list(step_caches())
COUNT = 10
STEPS = Steps(run=range(COUNT), total=COUNT)
BRANCHES = (Branch(), Branch(prompt=False), Branch(prompt=False, speech=False))
TIMES = torch.linspace(1000, 50, COUNT)
ALWAYS = 10.0  # a threshold that leaves out whatever may be
Story = list[list[Tensor]]  # per step, per branch


@pytest.fixture(scope="module")
def model() -> WanTransformer:
    torch.manual_seed(0)
    made = WanTransformer(**SMALL, in_channels=16).eval()
    for parameter in made.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.05)
    return made.requires_grad_(False)


def contexts(model: WanTransformer) -> dict[Branch, Context]:
    prompts = torch.randn(3, 1, 5, 32, generator=torch.Generator().manual_seed(1))
    return {branch: model.embed_context(prompt) for branch, prompt in zip(BRANCHES, prompts, strict=True)}


def latents_of(step: int) -> Tensor:
    still = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    moving = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    return still + 0.05 * step * moving


def opened(model: WanTransformer, name: str, threshold: float, steps: Steps = STEPS) -> WindowCache:
    return open_cache(StepCachePlan(name=name, threshold=threshold), steps, model, TIMES)


def told(model: WanTransformer, cache: WindowCache, *, together: bool = False, present: Any = None) -> Story:
    """What the model says in every step; `present(step)` are the branches of that step."""
    context, story = contexts(model), []
    for step in cache.watch(STEPS.run):
        branches = BRANCHES if present is None else present(step)
        passes = [Pass(context[branch], None, cache.reuse(branch)) for branch in branches]
        groups: Sequence[Sequence[Pass]] = [passes] if together else [[one] for one in passes]
        timestep = TIMES[step : step + 1]
        story.append([v for group in groups for v in model.forward_passes(latents_of(step), timestep, group)])
    return story


def same(one: Story, other: Story) -> bool:
    pairs = zip((v for step in one for v in step), (v for step in other for v in step), strict=True)
    return all(torch.equal(ours, theirs) for ours, theirs in pairs)


class Instead(nn.Module):
    """Stands for all blocks after the first ones of a reference: adds what they added before."""

    chunk_tokens = 0

    def __init__(self, added: Tensor) -> None:
        super().__init__()
        self.added = added

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        return x + self.added


def alone(model: WanTransformer, branch: Branch, computed: Sequence[bool], lead: int) -> list[Tensor]:
    """One branch by hand: a computed step is the model's own, a skipped one that of a model whose blocks
    after `lead` only add what they added in the last computed step.
    """
    context, said = contexts(model)[branch], []
    reference = copy.deepcopy(model)
    seen: list[Tensor] = []
    blocks = list(model.blocks)
    hooks = [
        blocks[lead].register_forward_pre_hook(lambda _, given: seen.append(given[0].clone())),
        blocks[-1].register_forward_hook(lambda *told: seen.append(told[2].clone())),
    ]
    added = torch.zeros(1)
    for step, runs in enumerate(computed):
        used = model
        if not runs:
            reference.blocks = nn.ModuleList([*copy.deepcopy(blocks[:lead]), Instead(added)])
            used = reference
        said.append(used(latents_of(step), TIMES[step : step + 1], context))
        if runs:
            added = seen[1] - seen[0]
        seen.clear()
    for hook in hooks:
        hook.remove()
    return said


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk", [0, 7])
def test_threshold_zero_changes_no_bit(model: WanTransformer, name: str, chunk: int) -> None:
    model.set_chunks(chunk)
    cache = opened(model, name, 0.0)
    plain = told(model, WindowCache())
    assert same(told(model, cache), plain)
    assert cache.passes == (3 * COUNT, 3 * COUNT) and WindowCache().passes is None
    model.set_chunks(0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("together", [False, True])
def test_steps_are_left_out_and_branches_keep_to_themselves(
    model: WanTransformer, name: str, together: bool
) -> None:
    calls = [0] * len(model.blocks)

    def count(index: int) -> Any:
        def counted(*_: Any) -> None:
            calls[index] += 1

        return counted

    hooks = [block.register_forward_hook(count(index)) for index, block in enumerate(model.blocks)]
    cache = opened(model, name, ALWAYS)
    story = told(model, cache, together=together)
    for hook in hooks:
        hook.remove()
    lead = cache.reuse(BRANCHES[0]).lead  # type: ignore[union-attr]
    computed, every = cache.passes or (0, 0)
    assert every == 3 * COUNT and 3 * 2 <= computed <= 3 * COUNT // 2
    assert calls == [every if index < lead else computed for index in range(len(calls))]
    runs = [step in (0, COUNT - 1) for step in range(COUNT)]
    if computed > 6:
        runs = list((step_caches()[name].known(StepCachePlan(name=name, threshold=ALWAYS), STEPS)) or ())
    for index, branch in enumerate(BRANCHES):
        for ours, wanted in zip(story, alone(model, branch, runs, lead), strict=True):
            torch.testing.assert_close(ours[index], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_chunks_that_write_over_their_input_change_nothing(model: WanTransformer, name: str) -> None:
    whole = told(model, opened(model, name, ALWAYS), together=True)
    model.set_chunks(7)
    in_chunks = told(model, opened(model, name, ALWAYS), together=True)
    model.set_chunks(0)
    for step, other in zip(whole, in_chunks, strict=True):
        torch.testing.assert_close(step, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_window_begins_with_nothing(model: WanTransformer, name: str) -> None:
    assert same(told(model, opened(model, name, ALWAYS)), told(model, opened(model, name, ALWAYS)))


@pytest.mark.parametrize("name", NAMES)
def test_a_branch_that_was_away_computes_first(model: WanTransformer, name: str) -> None:
    """Guidance that sets in late: the branch has no step of its own to go on with."""
    cache = opened(model, name, ALWAYS)
    story = told(model, cache, present=lambda step: BRANCHES[:1] if step < 5 else BRANCHES[:2])
    plain = told(model, WindowCache())
    assert torch.equal(story[5][1], plain[5][1])
    assert not torch.equal(story[6][1], plain[6][1])
    gone = told(model, opened(model, name, ALWAYS), present=lambda step: BRANCHES[: 1 + (step != 3)])
    assert len(gone[3]) == 1 and len(gone[4]) == 2


def test_a_scheduled_branch_never_goes_on_with_a_step_before_the_last_computed(
    model: WanTransformer,
) -> None:
    plan = StepCachePlan(name="magcache", threshold=ALWAYS)
    known = step_caches()["magcache"].known(plan, STEPS) or ()
    away = next(step for step in range(3, COUNT) if known[step] and not known[step + 1])
    story = told(
        model,
        opened(model, "magcache", ALWAYS),
        present=lambda step: BRANCHES[:1] if step == away else BRANCHES[:2],
    )
    plain = told(model, WindowCache())
    assert torch.equal(story[away + 1][1], plain[away + 1][1])


@pytest.mark.parametrize("name", NAMES)
def test_fresh_steps_are_computed(model: WanTransformer, name: str) -> None:
    fresh = Steps(run=STEPS.run, total=COUNT, fresh=frozenset({4, 5}))
    story, plain = told(model, opened(model, name, ALWAYS, fresh)), told(model, WindowCache())
    assert same(story[4:6], plain[4:6])


@pytest.mark.parametrize("name", NAMES)
def test_a_step_that_is_left_out_copies_no_block(
    model: WanTransformer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[int] = []
    copy_to = HostBlock.copy_to

    def counted(self: HostBlock, *given: Any, **more: Any) -> None:
        copies.append(1)
        copy_to(self, *given, **more)

    monkeypatch.setattr(HostBlock, "copy_to", counted)
    mine = copy.deepcopy(model)
    home = Residence(mine, "cpu", blocks=list(mine.blocks))
    swap = SwapPlan(blocks=len(mine.blocks), slots=1)
    cache = opened(model, name, ALWAYS)
    with home.running(swap):
        swapped = told(mine, cache, together=True)
    computed = (cache.passes or (0, 0))[0] // 3
    lead = cache.reuse(BRANCHES[0]).lead  # type: ignore[union-attr]
    assert len(copies) <= computed * len(mine.blocks) + lead * (COUNT - computed)
    assert same(swapped, told(model, opened(model, name, ALWAYS), together=True))


def test_passes_are_counted_over_the_windows() -> None:
    first = with_passes(None, (3, 9))[PASSES]
    assert with_passes(first, (4, 9))[PASSES].tolist() == [[3, 9], [4, 9]]
    assert with_passes(first, None) == {}
