"""What a dropped workflow does: it fills in the form, and its report is shown."""

from functools import partial
from typing import Any

from ui.fields import is_for, shown_values
from ui.forecast import Updates
from ui.parts import Page
from ui.workflow import problem_html, report_html
from wanvideo.errors import UserError
from wanvideo.prepare import model_folders
from wanvideo.request import read_options
from wanvideo.workflow.importing import import_workflow
from wanvideo.workflow.settling import LENGTHS


def connect_workflow(page: Page) -> None:
    """Wire the upload; called inside its Blocks."""
    part = page.workflow
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    outputs = [*page.form.components, part.report]
    part.file.upload(partial(take_workflow, page), [part.file, page.form["task"]], outputs, **quiet)
    part.file.clear(lambda: "", None, part.report, **quiet)


def take_workflow(page: Page, path: str, task: str) -> Updates:
    """What the workflow says goes into the form; the rest stays. Its pictures and sounds are not here: the
    page opens nothing that a visitor's file names, but model files in the model folders.
    """
    try:
        found = import_workflow(path, model_folders(read_options(page.folders)))
    except UserError as error:
        return {page.workflow.report: problem_html(str(error))}
    values: dict[str, Any] = dict(found.values)
    if values.keys() & set(LENGTHS):
        values = {**dict.fromkeys(LENGTHS), **values}
    updates: Updates = {page.workflow.report: report_html(found)}
    for field, value in values.items():
        if field in page.form.widgets and is_for(field, values.get("task", task)):
            updates |= dict(zip(page.form.widgets[field], shown_values(field, value), strict=True))
    return updates
