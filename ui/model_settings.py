"""The Model Settings tab: which model runs and how, what this machine can do, and the plan in plain words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

import gradio as gr

from ui.cards import as_sentence, card, table
from ui.fields import Widget, build_field, label_of
from ui.presets import PresetPicker, build_picker
from ui.texts import say, say_or
from ui.texts.notes import in_language, in_parts
from wanvideo.checkpoint.folders import describe_folder, model_names
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.lora_files import lora_names
from wanvideo.checkpoint.refusal import Refusal
from wanvideo.fallback import obstacle
from wanvideo.hardware import Hardware
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import model_folders
from wanvideo.proof.kept import read_proofs
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.request import RuntimeOptions
from wanvideo.wording import describe_plan

GIGA = 1024**3
# What waits in main memory, how it is copied, and what steps aside: in rows.
MEMORY = (
    ("auto_hardware_tuning",),
    ("blocks_to_swap", "vram_threshold_percent"),
    ("vae_tiling", "vae_precision"),
    ("num_cuda_streams", "prefetch_blocks", "bandwidth_target"),
    ("enable_cuda_optimization", "enable_dram_optimization"),
    ("offload_txt_emb", "offload_img_emb"),
    ("force_offload", "debug_mode"),
    ("load_device", "vace_blocks_to_swap"),
)
# How the products are computed, for those who look for the last percent or for a fault.
ADVANCED = (
    "compile",
    "fuse_qkv_projections",
    "rms_norm_function",
    "use_tf32",
    "use_cublas_gemm",
    "force_contiguous_tensors",
    "step_cache",
    "step_cache_threshold",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettingsTab:
    """The parts of the tab that events read or write."""

    widgets: Mapping[str, tuple[Widget, ...]]
    picker: PresetPicker
    reset: gr.Button
    unload: gr.Button
    plan: gr.HTML
    found: gr.HTML


def build_model_settings(machine: Hardware) -> ModelSettingsTab:
    """Place the tab's widgets in the surrounding Blocks; the tables show what runs on `machine`."""
    widgets: dict[str, tuple[Widget, ...]] = {}
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=5, min_width=340):
            picker = build_picker(machine)
            reset = gr.Button(say("reset_options"), size="sm", elem_id="reset-options")
            widgets["model"] = build_field("model")
            widgets["base_precision"] = build_field("base_precision")
            widgets["quantization"] = build_field("quantization")
            widgets["requantize"] = build_field("requantize")
            widgets["attention"] = build_field("attention")
            widgets["per_block_mean"] = build_field("per_block_mean")
            widgets["strict"] = build_field("strict")
            with gr.Accordion(say("memory"), elem_id="memory"):
                widgets |= _build_rows(MEMORY)
            with gr.Accordion(say("loras"), open=False):
                gr.HTML(f"<p class='hint'>{say('loras_note')}</p>")
                widgets["loras"] = build_field("loras")
            with gr.Accordion(say("advanced"), open=False):
                widgets |= {name: build_field(name) for name in ADVANCED}
        with gr.Column(scale=6, min_width=340):
            plan = gr.HTML(plan_card(None), elem_id="plan")
            gr.HTML(machine_card(machine))
            unload = gr.Button(say("unload"), size="sm", elem_id="unload")
            found = gr.HTML(elem_id="found")
            gr.HTML(quantization_guide(machine))
            gr.HTML(attention_guide(machine))
    return ModelSettingsTab(
        widgets=widgets, picker=picker, reset=reset, unload=unload, plan=plan, found=found
    )


def _build_rows(rows: Iterable[Iterable[str]]) -> dict[str, tuple[Widget, ...]]:
    widgets: dict[str, tuple[Widget, ...]] = {}
    for names in rows:
        with gr.Row():
            widgets |= {name: build_field(name) for name in names}
    return widgets


def attention_guide(machine: Hardware) -> str:
    """Every backend with whether it runs here, and if not, why."""
    proofs = read_proofs(machine).attention
    rows = [
        (row.name, label_of(row), in_language(obstacle(row, machine, proofs) or say("usable")))
        for row in attention_backends().values()
    ]
    return card(say("guide_attention"), table(rows, say("guide_columns").split("|")), "guide")


def quantization_guide(machine: Hardware) -> str:
    """Every mode with its storage, and whether it runs here."""
    proofs = read_proofs(machine).quantization
    rows = [
        (
            row.name,
            label_of(row),
            f"{row.bytes_per_weight:g}",
            in_language(obstacle(row, machine, proofs) or say("usable")),
        )
        for row in quantization_modes().values()
    ]
    return card(say("guide_quantization"), table(rows, say("guide_columns_bytes").split("|")), "guide")


def plan_card(plan: GenerationPlan | None) -> str:
    """A plan in words, without this machine's paths, and its notes; None while inputs are missing."""
    if plan is None:
        return card(say("plan"), f"<p class='hint'>{say('plan_none')}</p>")
    lines = dict(describe_plan(plan))
    rows = [
        (say_or(f"plan_{name}", name), in_parts(text))
        for name, text in lines.items()
        if name not in ("output", "seed") and name[0] != " "
    ]
    notes = "".join(f"<li>{escape(in_language(note))}</li>" for note in plan.notes)
    return card(say("plan"), table(rows) + (f"<ul class='notes'>{notes}</ul>" if notes else ""))


def machine_card(machine: Hardware) -> str:
    """Cards, processor and memory."""
    lines = [
        say(
            "machine_gpu",
            name=gpu.name,
            memory=_gigabytes(gpu.total_bytes),
            capability=".".join(map(str, gpu.compute_capability)),
            driver=gpu.driver,
        )
        for gpu in machine.gpus
    ] or [say("machine_no_gpu")]
    lines.append(say("machine_cpu", cpu=machine.cpu, cores=machine.cores))
    memory = {"total": _gigabytes(machine.ram_bytes), "free": _gigabytes(machine.free_ram_bytes)}
    lines.append(say("machine_memory", **memory))
    return card(say("machine"), "".join(f"<p>{escape(line)}</p>" for line in lines))


def machine_line(machine: Hardware) -> str:
    """The machine in a few words, for the head of the page."""
    if not machine.gpus:
        return say("machine_short_cpu", cores=machine.cores)
    first = machine.gpus[0]
    return say("machine_short_gpu", name=first.name, memory=_gigabytes(first.total_bytes))


def find_checkpoints(options: RuntimeOptions) -> tuple[list[CheckpointFacts], list[Refusal]]:
    """(usable, refused) in the folders that a job would look in."""
    return describe_folder(model_folders(options))


def model_choices(found: Iterable[CheckpointFacts]) -> list[tuple[str, str]]:
    """(shown, value) of the model field: automatic, then every diffusion model."""
    return [(say("model_automatic"), ""), *((name, name) for name in model_names(found))]


def lora_choices(options: RuntimeOptions) -> list[tuple[str, str]]:
    """(shown, value) of a LoRA field: none, then every file in the loras folders."""
    return [(say("lora_none"), ""), *((name, name) for name in lora_names(model_folders(options)))]


def found_card(found: Iterable[CheckpointFacts], refused: Iterable[Refusal]) -> str:
    """What was detected in each file, and why a file that looks like one is not usable."""
    rows = [
        (facts.path.name, _kind(facts), ", ".join(facts.dtypes), f"{facts.bytes / 1e6:,.1f} MB")
        for facts in found
    ]
    body = table(rows, say("models_columns").split("|")) if rows else f"<p>{say('models_found_none')}</p>"
    reasons = "".join(f"<li>{escape(as_sentence(refusal.sentence))}</li>" for refusal in refused)
    if reasons:
        body += f"<p class='refused'>{say('models_refused')}</p><ul class='notes'>{reasons}</ul>"
    return card(say("models_found"), body)


def _kind(facts: CheckpointFacts) -> str:
    kind = say_or(f"part_{facts.component}", facts.component.replace("_", " "))
    return f"{kind}, {facts.task_hint}" if facts.task_hint else kind


def _gigabytes(size: int) -> str:
    return f"{size / GIGA:.0f} GB"
