"""A ComfyUI workflow dropped on the page: where it goes, and the report of what became of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import gradio as gr

from ui.cards import as_sentence, card, table
from ui.fields import MOST_LORAS, TABLE, label_of
from ui.texts import say
from wanvideo.workflow.document import SUFFIXES
from wanvideo.workflow.report import (
    LEFT,
    MISSING,
    OTHERWISE,
    OUTCOMES,
    TAKEN,
    UNKNOWN,
    UNUSED,
    Line,
    WorkflowImport,
)

OPEN = (LEFT, MISSING, UNKNOWN)  # what a person may want to look after


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowPart:
    """The widgets that events read or write."""

    file: gr.File
    report: gr.HTML


def build_workflow() -> WorkflowPart:
    """Place the upload and the report in the surrounding Blocks."""
    with gr.Accordion(say("workflow"), open=False, elem_id="workflow"):
        gr.HTML(f"<p class='hint'>{say('workflow_note')}</p>")
        file = gr.File(
            label=say("workflow_file"),
            file_types=list(SUFFIXES),
            type="filepath",
            height=120,
            elem_id="workflow-file",
        )
        report = gr.HTML(elem_id="workflow-report")
    return WorkflowPart(file=file, report=report)


def report_html(found: WorkflowImport) -> str:
    """What became of each value, by outcome; those that need a look are open."""
    summary = say("workflow_summary", taken=found.count(TAKEN), open=len(found.not_taken()))
    body = f"<p class='facts'>{escape(summary)}</p>"
    loras = found.values.get("loras", ())
    if len(loras) > MOST_LORAS:
        rest = ", ".join(lora.file for lora in loras[MOST_LORAS:])
        body += f"<p>{escape(say('workflow_more_loras', count=MOST_LORAS, rest=rest))}</p>"
    for outcome in OUTCOMES:
        lines = [line for line in found.lines if line.outcome == outcome]
        if lines:
            body += _group(outcome, lines)
    return card(say("workflow_report"), body)


def problem_html(sentence: str) -> str:
    """Why a file can't be taken."""
    return f"<p class='problem'>{escape(as_sentence(sentence))}</p>"


def _group(outcome: str, lines: Iterable[Line]) -> str:
    rows = [(line.node, _value(line), _detail(line)) for line in lines]
    title = _title(outcome, len(rows))
    is_open = " open" if outcome in OPEN else ""
    shown = table(rows, say("workflow_columns").split("|"))
    return f"<details{is_open}><summary>{escape(title)}</summary>{shown}</details>"


def _title(outcome: str, count: int) -> str:
    titles = {
        TAKEN: say("workflow_taken", count=count),
        LEFT: say("workflow_left", count=count),
        MISSING: say("workflow_missing", count=count),
        UNKNOWN: say("workflow_unknown", count=count),
        OTHERWISE: say("workflow_otherwise", count=count),
        UNUSED: say("workflow_unused", count=count),
    }
    return titles[outcome]


def _value(line: Line) -> str:
    return " = ".join(filter(None, (line.widget, line.shown_value)))


def _detail(line: Line) -> str:
    """A taken value has the name of its field, which the page calls by its label."""
    return label_of(TABLE[line.detail]) if line.outcome == TAKEN and line.detail in TABLE else line.detail
