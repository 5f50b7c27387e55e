"""The System tab: the machine, what was tried on it, disk and caches, the log, a report to send."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

import gradio as gr

from ui.cards import as_sentence, card, table
from ui.gallery import CLICKS, size_words
from ui.model_settings import machine_card
from ui.texts import say
from wanvideo.diagnostics.caches import KINDS, DiskState, Usage
from wanvideo.diagnostics.command import DONE, FAILED, IDLE, RUNNING, STOPPED, Command, CommandState
from wanvideo.diagnostics.places import without_places
from wanvideo.downloads.catalog import words_for_bytes
from wanvideo.fallback import obstacle
from wanvideo.hardware import Hardware
from wanvideo.proof.kept import AttentionProof, MatmulProof, Proof, read_proofs
from wanvideo.registry import attention_backends, quantization_modes

COMMANDS: Mapping[str, tuple[str, ...]] = {"selftest": ("selftest", "--again"), "calibrate": ("calibrate",)}
LOG_LINES = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemTab:
    """What events read or write, and the command that all visitors see. `folders` as in Page."""

    tab: gr.Tab
    command: Command
    machine: gr.HTML
    disk: gr.HTML
    caches: gr.HTML
    selftest: gr.Button
    calibrate: gr.Button
    stop: gr.Button
    output: gr.HTML
    probes: gr.HTML
    refresh: gr.Button
    log: gr.HTML
    report: gr.Button
    download: gr.DownloadButton


def build_system(tab: gr.Tab, machine: Hardware) -> SystemTab:
    """Place the tab's widgets in `tab`, which is open; not yet connected."""
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=5, min_width=340):
            about = gr.HTML(machine_card(machine))
            disk = gr.HTML(elem_id="disk")
            caches = gr.HTML(js_on_load=CLICKS, elem_id="caches")
            with gr.Column(elem_classes="card picker"):
                note = f"<h3>{say('system_report')}</h3><p class='hint'>{say('system_report_note')}</p>"
                gr.HTML(note)
                with gr.Row(elem_classes="actions"):
                    report = gr.Button(say("system_report_make"), size="sm", elem_id="report")
                    download = gr.DownloadButton(
                        say("system_report_download"), size="sm", visible=False, variant="primary"
                    )
        with gr.Column(scale=6, min_width=340):
            output = gr.HTML(command_card(CommandState(), {}), elem_id="check")
            with gr.Row(elem_classes="actions"):
                selftest = gr.Button(say("system_selftest"), size="sm", elem_id="selftest")
                calibrate = gr.Button(say("system_calibrate"), size="sm", elem_id="calibrate")
                stop = gr.Button(say("stop"), size="sm", visible=False, variant="stop")
            probes = gr.HTML(elem_id="probes")
            log = gr.HTML(elem_id="log")
            refresh = gr.Button(say("system_refresh"), size="sm", elem_id="system-refresh")
    return SystemTab(
        tab=tab,
        command=Command(),
        machine=about,
        disk=disk,
        caches=caches,
        selftest=selftest,
        calibrate=calibrate,
        stop=stop,
        output=output,
        probes=probes,
        refresh=refresh,
        log=log,
        report=report,
        download=download,
    )


def disk_card(state: DiskState) -> str:
    """Room on the disk, and what takes it."""
    names = say("system_disk_parts").split("|")
    rows = [
        (name, f"{part.files:,}" if part.files else "–", _size(part))
        for name, part in zip(names, state.parts, strict=True)
    ]
    free = say("system_disk_free", free=words_for_bytes(state.free), total=words_for_bytes(state.total))
    used = 100 * (1 - state.free / state.total) if state.total else 0.0
    bar = f"<div class='bar still'><i style='width:{used:.1f}%'></i></div>"
    return card(
        say("system_disk"), f"<p>{free}</p>{bar}" + table(rows, say("system_disk_columns").split("|"))
    )


def caches_card(caches: Iterable[Usage]) -> str:
    """A row per cache: what it is, what clearing it costs, its size and its button."""
    names, costs = say("system_cache_names").split("|"), say("system_cache_lost").split("|")
    rows = "".join(_cache_row(*row) for row in zip(names, costs, caches, strict=True))
    note = f"<p class='hint'>{say('system_caches_note')}</p>"
    return card(say("system_caches"), f"{note}<ul>{rows}</ul>", "queue")


def cache_name(kind: str) -> str:
    """What a cache is called on the page."""
    return say("system_cache_names").split("|")[KINDS.index(kind)]


def _cache_row(name: str, cost: str, cache: Usage) -> str:
    button = f"<button data-action='clear' data-name='{escape(cache.name)}'>{say('system_clear')}</button>"
    size = _size(cache)
    return (
        f"<li><span class='what'><b>{escape(name)}</b><small>{escape(cost)}</small></span>"
        f"<span class='size'>{size}</span>{button if cache.files else ''}</li>"
    )


def _size(usage: Usage) -> str:
    return size_words(usage.bytes) if usage.files else "–"


def probes_card(machine: Hardware) -> str:
    """Every attention and quantization: how fast and how exact it was here, or why it can't run."""
    proofs = read_proofs(machine)
    attention = [
        _probe_row(
            row.name,
            proofs.attention.get(row.name),
            obstacle(row, machine, proofs.attention),
            say("system_untried"),
        )
        for row in attention_backends().values()
    ]
    quantization = [
        _probe_row(
            row.name,
            proofs.quantization.get(row.name),
            obstacle(row, machine, proofs.quantization),
            say("system_untried") if row.fallback else say("system_plain"),
        )
        for row in quantization_modes().values()
    ]
    body = table(attention, say("system_probes_attention").split("|"))
    body += table(quantization, say("system_probes_quantization").split("|"))
    return card(say("system_probes"), f"{body}<p class='hint'>{say('system_probes_note')}</p>", "probes")


def _probe_row(name: str, proof: Proof | None, reason: str | None, untried: str) -> tuple[str, str, str, str]:
    if proof is None or reason:
        return name, "–", "–", as_sentence(reason or untried)
    by = proof.computed_by
    return (
        name,
        _speed(proof),
        _likeness(proof),
        say("system_works_by", name=by) if by else say("system_works"),
    )


def _speed(proof: Proof) -> str:
    exact = proof.dense_milliseconds if isinstance(proof, MatmulProof) else proof.peer_milliseconds
    return f"{exact / proof.milliseconds:.1f}×" if exact and proof.milliseconds else "–"


def _likeness(proof: Proof) -> str:
    if isinstance(proof, AttentionProof):
        return "–" if proof.cosine is None else f"{proof.cosine:.4f}"
    error = getattr(proof, "error", None)
    return "–" if error is None else f"{100 * error:.1f} %"


def command_card(now: CommandState, places: Mapping[str, str]) -> str:
    """What the buttons do, or the lines of the command that runs or ran last."""
    if now.state == IDLE:
        return card(say("system_check"), f"<p class='hint'>{say('system_check_note')}</p>")
    titles = {
        RUNNING: say("system_check_running", name=now.name),
        DONE: say("system_check_done", name=now.name),
        FAILED: say("system_check_failed", name=now.name),
        STOPPED: say("system_check_stopped", name=now.name),
    }
    return card(titles[now.state], _lines(without_places(line, places) for line in now.lines), "terminal")


def log_card(lines: Iterable[str]) -> str:
    """The end of the log, its newest line last."""
    body = _lines(lines) or f"<p class='hint'>{say('system_log_none')}</p>"
    return card(say("system_log"), f"<p class='hint'>{say('system_log_note')}</p>{body}", "terminal wrapped")


def fault_card(title: str, fault: object) -> str:
    """In place of a card that can't be made."""
    return card(title, f"<p>{escape(as_sentence(str(fault)))}</p>", "error")


def _lines(lines: Iterable[str]) -> str:
    text = "\n".join(lines)
    return f"<div class='lines'><pre>{escape(text)}</pre></div>" if text else ""
