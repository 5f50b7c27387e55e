"""What the plan says of LoRAs and of step-distilled models. Pure arithmetic.

A recipe is proposed and never applied: which steps run is decided by the request alone.
"""

from collections.abc import Iterator

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.lora import LoraUse, leftovers
from wanvideo.checkpoint.lora_recipes import FEWEST_STEPS, Recipe
from wanvideo.checkpoint.recognise import LORA
from wanvideo.downloads.catalog import KnownFile
from wanvideo.downloads.recipes import RECIPES
from wanvideo.effective_mode import DENSE
from wanvideo.errors import UserError
from wanvideo.registry import QuantizationMode
from wanvideo.request import REQUEST_FIELDS, GenerationRequest
from wanvideo.settings import Settings


def lora_notes(
    request: GenerationRequest, models: ModelSet, settings: Settings, mode: QuantizationMode
) -> Iterator[str]:
    """Sentences, without a full stop, on what is left out, proposed or missing. Raises UserError for a LoRA
    that the weights of `mode` can't take.
    """
    for use in models.loras:
        _check_weights(use, models, mode)
        yield from leftovers(use.facts)
        if not any(use.strength_at(step) for step in settings.steps):
            yield f"LoRA {use.facts.name} has no effect at strength 0"
    found = [(f"LoRA {use.facts.name}", use.facts.recipe) for use in models.loras]
    recipes = [(title, recipe) for title, recipe in [*found, (models.name, models.recipe)] if recipe]
    if not recipes:
        yield from _too_few_steps(request, models, settings)
    for title, recipe in recipes[:1]:
        yield from _proposal(title, recipe, request, settings)


def describe_loras(models: ModelSet) -> Iterator[tuple[str, str]]:
    """(name, strength in words) of each LoRA."""
    for use in models.loras:
        strengths = use.strength if isinstance(use.strength, tuple) else (use.strength,)
        yield use.facts.name, ", ".join(f"{strength:g}" for strength in strengths)


def _check_weights(use: LoraUse, models: ModelSet, mode: QuantizationMode) -> None:
    full = use.facts.full_weights
    if not full or (mode.store is None and models.transformer.stored.weights == DENSE):
        return
    more = f" and {len(full) - 1} more" if len(full) > 1 else ""
    raise UserError(
        f"LoRA {use.facts.name} changes the whole weight of {full[0]}{more}, which a quantized model can't"
        " take without making its weights dense",
        fix="Use a model that is not quantized, with quantization disabled, or a LoRA of low rank.",
    )


def _too_few_steps(request: GenerationRequest, models: ModelSet, settings: Settings) -> Iterator[str]:
    """A model whose own profile has few steps is made for them."""
    usual = models.profile.defaults.get(request.task, {}).get("num_inference_steps", FEWEST_STEPS)
    steps = settings.num_inference_steps
    if steps < min(usual, FEWEST_STEPS):
        file = distilled_file(request.task, models.transformer.dim)
        cure = "a step-distilled LoRA, as those of lightx2v, is made for so few"
        if file is not None:
            cure = f"{file.file_name} is made for so few, `models download {file.name}` loads it"
        yield (
            f"{steps} steps are few for a model that is not step-distilled: the video will be smeared; {cure}"
        )


def needed_file(task: str, steps: int | None) -> KnownFile | None:
    """The known file that so few steps of a task are made for; None where any model has enough of them."""
    return distilled_file(task) if steps is not None and steps < FEWEST_STEPS else None


def distilled_file(task: str, dim: int | None = None) -> KnownFile | None:
    """The known step-distilled LoRA for the diffusion model of a task, of that width if one is given."""
    for recipe in RECIPES.values():
        loras = [file for file in recipe.files if file.component == LORA]
        fits = dim is None or any((file.component, file.dim) == ("transformer", dim) for file in recipe.files)
        if recipe.task == task and fits and loras:
            return loras[0]
    return None


def _proposal(title: str, recipe: Recipe, request: GenerationRequest, settings: Settings) -> Iterator[str]:
    """What to set, for those settings that differ from the recipe."""
    differs = {
        f"--steps {recipe.steps}": settings.num_inference_steps != recipe.steps,
        f"--guidance {recipe.guidance_scale:g}": set(settings.guidance_scale) != {recipe.guidance_scale},
        f"--audio-guidance {recipe.audio_guidance_scale:g}": (
            REQUEST_FIELDS["audio_guidance_scale"].is_for(request.task)
            and settings.audio_guidance_scale != recipe.audio_guidance_scale
        ),
        f"--sampler {' or '.join(recipe.samplers)}": settings.sampler not in recipe.samplers,
        f"--shift {recipe.flow_shift:g}": settings.flow_shift != recipe.flow_shift,
    }
    flags = [flag for flag, is_other in differs.items() if is_other]
    if flags:
        yield f"{title} is step-distilled ({recipe.title}); it was made for {', '.join(flags)}"
