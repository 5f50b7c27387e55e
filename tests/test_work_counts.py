"""What a forward pass and a step cost, in counts that hold on every machine: products, attentions, kernels,
elements copied, passes, and waits for the card. A change that adds work has to change a number here.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.test_compiled_blocks import model, run
from wanvideo.models.passes import Pass
from wanvideo.models.transformer import WanTransformer
from wanvideo.sampling.denoise import denoise
from wanvideo.sampling.guidance import Apg, Branch, Guidance
from wanvideo.sampling.preview import LatentPreview
from wanvideo.sampling.samplers import SAMPLERS, find_sampler
from wanvideo.sampling.steppers import make_stepper

SIZE, STEPS, FREQ_DIM, DIM = (3, 8, 8), 4, 64, 256
TOKENS = SIZE[0] * SIZE[1] * SIZE[2] // 4
# What starts no kernel.
VIEWS = ("view", "t", "transpose", "unbind", "split", "select", "slice", "expand", "unsqueeze", "permute",
         "alias", "detach", "unsafe_view", "reshape", "as_strided")  # fmt: skip
WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "masked_select")
COPIES = ("clone", "_to_copy", "copy_")


class Counting(TorchDispatchMode):
    """Ops by name, and what they made."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: Counter[str] = Counter()
        self.copied = 0  # elements
        self.largest_double = 0  # elements

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        self.ops[name] += 1
        if isinstance(made, Tensor):
            self.copied += made.numel() if name in COPIES else 0
            if made.dtype == torch.float64:
                self.largest_double = max(self.largest_double, made.numel())
        return made

    @property
    def kernels(self) -> int:
        """How many ops start one."""
        return sum(count for name, count in self.ops.items() if name not in VIEWS)

    def of(self, *parts: str) -> int:
        """How many ops have one of these in their names."""
        return sum(count for name, count in self.ops.items() if any(part in name for part in parts))


class Forbidding(Counting):
    """Waiting for the card is an error where it happens."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket.__name__ not in WAITS, f"{func} waits for the card"
        return super().__torch_dispatch__(func, types, args, kwargs)


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def of_a_block(talk: bool, **how: Any) -> tuple[int, int, int, float]:
    """(products, attentions, kernels, elements copied beside those of the tokens) of one block more. The 512
    tokens of text are many beside those of so small a video.
    """
    counts = []
    for blocks in (1, 2):
        made = model(talk=talk, blocks=blocks, dtype=torch.bfloat16)
        made.set_chunks(how.get("chunk", 0))
        made.set_rms_norm(how.get("norm", "default"))
        if how.get("joined"):
            made.join_projections()
        with Counting() as counting:
            run(made, SIZE)
        counts.append(counting)
    fewer, more = counts
    return (
        more.of("mm") - fewer.of("mm"),
        more.of("scaled_dot_product") - fewer.of("scaled_dot_product"),
        more.kernels - fewer.kernels,
        (more.copied - fewer.copied) / (TOKENS * DIM),
    )


@pytest.mark.parametrize(
    ("talk", "how", "products", "attentions", "kernels", "copied"),
    [
        (False, {}, 10, 2, 91, 42.5),
        (False, {"norm": "pytorch"}, 10, 2, 87, 42.5),
        (False, {"joined": True}, 7, 2, 88, 42.5),
        (True, {}, 15, 5, 174, 59.5),
        (False, {"chunk": TOKENS // 2}, 18, 3, 184, 48.5),
    ],
    ids=["text", "fused norm", "joined", "two speakers", "in chunks"],
)
def test_work_of_a_block(
    talk: bool, how: dict[str, Any], products: int, attentions: int, kernels: int, copied: float
) -> None:
    found = of_a_block(talk, **how)
    assert found[:2] == (products, attentions)
    assert found[2] <= kernels and found[3] <= copied


def predictions(made: WanTransformer, calls: list[int]) -> Callable[..., list[Tensor]]:
    """As `conditioning.predictor` has it: all that does not depend on the step is there already."""
    generator = torch.Generator().manual_seed(2)
    contexts = [made.embed_context(torch.randn(1, 5, 64, generator=generator)) for _ in range(2)]
    rotary = made.rotary(torch.empty(1, 16, *SIZE))

    def predict(latents: Tensor, timestep: Tensor, branches: Sequence[Branch]) -> list[Tensor]:
        calls.append(len(branches))
        passes = [Pass(contexts[branch.prompt]) for branch in branches]
        return made.forward_passes(latents, timestep, passes, rotary=rotary)

    return predict


def loop(
    made: WanTransformer, sampler: str, guidance: Guidance, calls: list[int], watch: TorchDispatchMode
) -> None:
    """A window's steps, with the preview that each of them sends."""
    generator = torch.Generator().manual_seed(3)
    stepper = make_stepper(find_sampler(sampler), steps=STEPS, shift=3.0, generator=generator)
    latents, preview = torch.randn(1, 16, *SIZE, generator=generator), LatentPreview(torch.zeros(17, 3))
    predict, motion = predictions(made, calls), torch.zeros(16, 1, *SIZE[1:])

    def on_step(_: int, estimate: Tensor) -> None:
        preview.push(estimate)

    with watch:
        denoise(predict, latents, stepper, guidance, range(STEPS), on_step, motion_latents=motion)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_in_the_loop_waits_or_computes_in_double(sampler: str) -> None:
    """But for the sinusoid of the timestep."""
    watch = Forbidding()
    loop(model(blocks=1), sampler, Guidance([5.0] * STEPS), [], watch)
    assert watch.ops and watch.largest_double <= FREQ_DIM


def test_adaptive_guidance_does_not_wait_either() -> None:
    loop(model(blocks=1), "euler", Guidance([5.0] * STEPS, 4.0, Apg()), [], Forbidding())


@pytest.mark.parametrize(
    ("prompt", "speech", "passes"), [(5.0, 4.0, 3), (5.0, 1.0, 2), (1.0, 4.0, 2), (1.0, 1.0, 1)]
)
def test_passes_of_a_step_and_what_they_share(prompt: float, speech: float, passes: int) -> None:
    """The time embedding and the patches are made once for all passes; each pass has its own blocks."""
    made, calls = model(blocks=1), []
    ran: Counter[str] = Counter()
    embedders = ("condition_embedder.time_embedder", "condition_embedder.text_embedder")
    for name in ("blocks.0", "patch_embedding", *embedders):
        made.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.update([name]))
    loop(made, "unipc", Guidance([prompt] * STEPS, speech), calls, Counting())
    assert calls == [passes] * STEPS
    assert ran == {"blocks.0": passes * STEPS, "patch_embedding": STEPS, embedders[0]: STEPS, embedders[1]: 2}


def test_a_wait_in_the_loop_is_found() -> None:
    with pytest.raises(AssertionError, match="waits for the card"), Forbidding():
        torch.zeros(1).item()
