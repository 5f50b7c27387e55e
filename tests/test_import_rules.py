"""The rules of the house, read from the source: layers, rooms without torch, names in one place, sizes.

Each rule is a function from a module to its offences. It runs over every file, and over planted offences, so
that a rule that has gone blind fails as well.
"""

import ast
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Room of wanvideo -> layer; an import goes to a strictly lower one. Halves stand between two rows.
LAYERS = {
    "errors": 0.0,
    **dict.fromkeys(("cache_folder", "fields", "geometry", "torch_switches", "windows"), 0.5),
    "options": 0.75,
    **dict.fromkeys(("request", "hardware"), 1),
    **dict.fromkeys(("known_cards", "live_meter"), 1.25),
    **dict.fromkeys(("defaults", "memory_plan", "stage_clock"), 1.5),
    "loan": 1.75,
    **dict.fromkeys(("registry", "presets", "placement", "model_cache", "media"), 2),
    **dict.fromkeys(("kernels", "proof"), 2.25),
    **dict.fromkeys(("inputs", "fallback", "recommended"), 2.5),
    "cards": 2.6,
    "effective_mode": 2.75,
    **dict.fromkeys(("attention", "quantization"), 3),
    **dict.fromkeys(("models", "sampling"), 4),
    **dict.fromkeys(("compiled_blocks", "prompt_cache"), 4.5),
    "compile_trial": 4.75,
    **dict.fromkeys(("checkpoint", "checks", "settings"), 5),
    "step_cache": 5.25,
    **dict.fromkeys(("decided_options", "downloads", "extent", "idle_fields", "workflow"), 5.5),
    "lora_plan": 5.6,
    **dict.fromkeys(("memory", "ways"), 5.75),
    "compile_choice": 5.9,
    "plan": 6,
    "quality": 6.25,
    **dict.fromkeys(("lending", "prepare", "finished_file", "window_tensors"), 6.5),
    "speech_inputs": 6.75,
    "conditioning": 7,
    "attempts": 7.25,
    **dict.fromkeys(("window_denoising", "window_frames"), 7.5),
    "pipeline": 8,
    **dict.fromkeys(("jobs", "library"), 9),
    **dict.fromkeys(("diagnostics", "progress_bar", "wording"), 9.5),
    "cli_answer": 9.55,
    **dict.fromkeys(("cli_models_download", "cli_models_list"), 9.6),
    **dict.fromkeys(("cli_bench", "cli_export", "cli_flags", "cli_making", "cli_models"), 9.75),
    **dict.fromkeys(("cli_queue", "cli_selftest"), 9.75),
    "cli_side_by_side": 9.8,
    "cli": 10,
    "__main__": 11,
}
UI_LAYER = 10
HEAVY = {"torch", "diffusers", "transformers", "accelerate"}
KERNELS = {"flash_attn", "flash_attn_interface", "xformers", "spas_sage_attn", "comfy_kitchen"}
KERNELS |= {"sageattention", "sageattn", "sageattn3", "sage3"}
TASKS = {"talk", "image_to_video", "text_to_video"}
TASK_ROOMS = {"request", "plan", "conditioning"}
# what speaks to a person by printing
TERMINAL = {f"wanvideo/{name}.py" for name in ("cli", "cli_making", "cli_side_by_side")}
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 300, 50, 7


class Module(NamedTuple):
    path: str  # from the root of the project, with slashes
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def room(self) -> str:
        return room_of(self.name)


def parse(path: str, text: str) -> Module:
    return Module(path, text, ast.parse(text))


def room_of(name: str) -> str:
    """`wanvideo.media.probe` -> `media`; empty for the package itself."""
    return name.partition(".")[2].partition(".")[0]


MODULES = [
    parse(file.relative_to(ROOT).as_posix(), file.read_text("utf-8"))
    for package in ("wanvideo", "ui")
    for file in sorted((ROOT / package).rglob("*.py"))
]
NAMES = {module.name for module in MODULES}


def imports_of(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            whole = "." * node.level + (node.module or "")
            for alias in node.names:  # `from wanvideo.media import probe` means the module probe
                yield f"{whole}.{alias.name}" if f"{whole}.{alias.name}" in NAMES else whole


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: no function bodies, no TYPE_CHECKING blocks."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from at_import_time(child)


def layer_of(name: str) -> float:
    if name.partition(".")[0] == "ui":
        return UI_LAYER
    return LAYERS.get(room_of(name), math.inf) if room_of(name) else -1


def breaks_layers(module: Module) -> Iterator[str]:
    if module.path.startswith("wanvideo/") and module.room and module.room not in LAYERS:
        yield f"{module.room}: give this room a layer in LAYERS and in docs/architecture.md"
        return
    for name in imports_of(ast.walk(module.tree)):
        package = name.partition(".")[0]
        inside = package == module.name.partition(".")[0] and room_of(name) == module.room
        if name.startswith("."):
            yield f"relative import {name}"
        elif (
            package not in ("wanvideo", "ui") or (package == "ui" == module.name.partition(".")[0]) or inside
        ):
            continue
        elif layer_of(name) >= layer_of(module.name):
            yield f"imports {name}"


def shows_the_page(module: Module) -> Iterator[str]:
    if module.path.startswith("wanvideo/"):
        yield from (n for n in imports_of(ast.walk(module.tree)) if n.partition(".")[0] in ("gradio", "ui"))


def loads_kernels(module: Module) -> Iterator[str]:
    yield from (n for n in imports_of(at_import_time(module.tree)) if n.partition(".")[0] in KERNELS)


def loads_torch(module: Module) -> Iterator[str]:
    """Options are listed by the plan and the page, so importing one may not load torch."""
    if module.room in ("attention", "quantization", "step_cache") and option_names(module):
        yield from (n for n in imports_of(at_import_time(module.tree)) if n.partition(".")[0] in HEAVY)


def option_names(module: Module) -> set[str]:
    """The `name` of every row of a table of options that is written out."""
    calls = (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))
    rows = ("AttentionBackend", "QuantizationMode", "StepCache")
    options = (call for call in calls if isinstance(call.func, ast.Name) and call.func.id in rows)
    words = (word for option in options for word in option.keywords if word.arg == "name")
    return {word.value.value for word in words if isinstance(word.value, ast.Constant)}


def compared(module: Module) -> Iterator[str]:
    """Strings and constant names that stand in a comparison or a `case`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Compare):
            operands = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            operands = [node.value]
        else:
            continue
        for part in (part for operand in operands for part in ast.walk(operand)):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value
            elif isinstance(part, (ast.Name, ast.Attribute)):
                yield (
                    (part.id if isinstance(part, ast.Name) else part.attr).lower()
                    if _is_constant(part)
                    else ""
                )


def _is_constant(node: ast.Name | ast.Attribute) -> bool:
    return (node.id if isinstance(node, ast.Name) else node.attr).isupper()


@cache
def options_of_files() -> dict[str, set[str]]:
    return {module.name: option_names(module) for module in MODULES}


def compares_options(module: Module) -> Iterator[str]:
    files = options_of_files().items()
    others = {name for file, names in files if file != module.name for name in names} - option_names(module)
    yield from (text for text in compared(module) if text in others)


def compares_tasks(module: Module) -> Iterator[str]:
    if module.path.startswith("wanvideo/") and module.room not in TASK_ROOMS:
        yield from (text for text in compared(module) if text in TASKS)


def prints(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print" and module.path not in TERMINAL:
            yield f"print in line {node.lineno}"


def swallows_everything(module: Module) -> Iterator[str]:
    """Cleaning up and raising again is fine; going on as if nothing had been is the worker's edge alone."""
    for node in ast.walk(module.tree):
        raises = isinstance(node, ast.ExceptHandler) and ast.unparse(node.body[-1]) == "raise"
        if isinstance(node, ast.ExceptHandler) and not raises and module.path != "wanvideo/jobs/worker.py":
            kinds = ast.unparse(node.type) if node.type else "Exception"
            if {"Exception", "BaseException"} & set(kinds.strip("()").replace(" ", "").split(",")):
                yield f"swallows everything in line {node.lineno}"


def is_too_long(module: Module) -> Iterator[str]:
    lines = len(module.text.splitlines())
    if lines > LONGEST_FILE:
        yield f"{lines} lines"
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            width = len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])
            if any(ast.unparse(one) == "triton.jit" for one in node.decorator_list):
                width = 0  # pointers, strides and sizes: there is nothing to put them in
            if length > LONGEST_FUNCTION or width > MOST_PARAMETERS:
                yield f"{node.name}: {length} lines, {width} parameters"


RULES: dict[Callable[[Module], Iterator[str]], list[tuple[str, str]]] = {
    breaks_layers: [
        ("wanvideo/media/sound.py", "def f():\n    from wanvideo.attention import sdpa"),
        ("wanvideo/request.py", "from wanvideo import hardware"),
        ("wanvideo/plan.py", "import wanvideo.pipeline"),
        ("wanvideo/plan.py", "from .errors import UserError"),
        ("wanvideo/toolbox.py", ""),
        ("ui/layout.py", "from wanvideo.cli import main"),
    ],
    shows_the_page: [
        ("wanvideo/cli.py", "def f():\n    import gradio as gr"),
        ("wanvideo/cli.py", "import ui.layout"),
    ],
    loads_kernels: [
        ("wanvideo/models/a.py", "try:\n    import flash_attn.ops\nexcept ImportError:\n    pass")
    ],
    loads_torch: [
        ("wanvideo/attention/a.py", "from torch import nn\nBACKENDS = (AttentionBackend(name='a'),)")
    ],
    compares_options: [
        ("wanvideo/plan.py", "x = mode == 'sdpa'"),
        ("wanvideo/plan.py", "x = mode in ('auto', 'disabled')"),
        ("wanvideo/plan.py", "x = cache == 'magcache'"),
        ("ui/layout.py", "match mode:\n    case 'disabled':\n        pass"),
    ],
    compares_tasks: [
        ("wanvideo/pipeline.py", "if plan.task != 'talk':\n    pass"),
        ("wanvideo/pipeline.py", "if plan.task in (request.TALK, IMAGE_TO_VIDEO):\n    pass"),
    ],
    prints: [("ui/layout.py", "print(1)")],
    swallows_everything: [
        ("wanvideo/plan.py", "try:\n    pass\nexcept:\n    pass"),
        ("ui/layout.py", "try:\n    pass\nexcept (OSError, Exception):\n    pass"),
    ],
    is_too_long: [
        ("wanvideo/plan.py", "\n" * 301),
        ("wanvideo/plan.py", "def f():\n" + "    pass\n" * 50),
        ("wanvideo/plan.py", "def f(a, b, c, d, *, e, f, g, h): ..."),
    ],
}


def named(rule: object) -> str:
    return getattr(rule, "__name__", "")


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_rule_holds_everywhere(rule: Callable[[Module], Iterator[str]]) -> None:
    assert "wanvideo.errors" in NAMES
    offences = [f"{module.path}: {offence}" for module in MODULES for offence in rule(module)]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize("rule", RULES, ids=named)
def test_rule_sees_a_planted_offence(rule: Callable[[Module], Iterator[str]]) -> None:
    for path, text in RULES[rule]:
        assert list(rule(parse(path, text))), f"{path}: {text}"


def test_every_option_file_names_its_option() -> None:
    assert {"sdpa", "disabled", "teacache"} <= {name for module in MODULES for name in option_names(module)}


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {
        module.name: set(imports_of(ast.walk(module.tree))) & NAMES - {module.name} for module in MODULES
    }
    while free := [name for name, needs in graph.items() if not needs & graph.keys()]:
        for name in free:
            del graph[name]
    assert not graph, f"in or behind a circle: {sorted(graph)}"


@pytest.mark.skipif(
    not {"wanvideo.plan", "ui"} <= NAMES, reason="wanvideo/plan.py or ui/__init__.py does not exist yet"
)
def test_planning_and_the_page_load_no_torch() -> None:
    pages = sorted(name for name in NAMES if name.partition(".")[0] == "ui")
    code = f"import sys, wanvideo.plan, {', '.join(pages)}; print(*sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
