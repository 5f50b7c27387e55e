"""One line under the Generate button while jobs run or wait: how many, and the way to the queue, which stands
far below.
"""

from collections.abc import Iterable

import gradio as gr

from ui.texts import say
from wanvideo.jobs.job import PAUSED, QUEUED, RUNNING, Job

COUNTED = {RUNNING: "queue_line_running", QUEUED: "queue_line_waiting", PAUSED: "queue_line_paused"}


def build_queue_line() -> gr.HTML:
    """Place it in the surrounding Blocks."""
    return gr.HTML(elem_id="queue-line")


def queue_line(jobs: Iterable[Job]) -> str:
    """The numbers that are not 0 and a link; empty where there is none."""
    states = [job.state for job in jobs]
    counts = {state: states.count(state) for state in COUNTED}
    words = [say(COUNTED[state], count=count) for state, count in counts.items() if count]
    if not words:
        return ""
    return f"<p>{' · '.join(words)} <a href='#queue'>{say('queue_line_link')}</a></p>"
