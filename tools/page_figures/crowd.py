"""A queue as somebody has it who has used the page for months."""

import json
import time
from dataclasses import replace

from wanvideo.jobs.orders import pause_job
from wanvideo.jobs.store import JobStore
from wanvideo.request import OPTION_FIELDS, GenerationRequest, RuntimeOptions

SECONDS_EACH = 42.0
REQUEST = GenerationRequest(
    task="text_to_video",
    prompt="a red ball rolls over a blue table in the light of the morning, and a cat looks on",
)
NOTES = ("480p needs 6.1 GB of the card's memory", "sageattn is not installed: sdpa runs instead") * 3


def crowd(store: JobStore, ended: int, waiting: int) -> None:
    """`ended` jobs with their results, and `waiting` ones that are paused one by one, so that another can run
    beside them.
    """
    result = json.dumps(
        {
            "output": str(store.path.parent / "gone.mp4"),
            "effective": {name: row.default for name, row in OPTION_FIELDS.items()},
            "notes": NOTES,
            "seconds": SECONDS_EACH,
            "stages": {"encode": 2.0, "denoise": 30.0, "decode": 10.0},
        }
    )
    first, now = store.add(REQUEST, RuntimeOptions()), time.time()
    with store.writing() as database:
        database.execute(
            "UPDATE jobs SET state = 'done', result = ?, started = ?, ended = ? WHERE id = ?",
            (result, now - SECONDS_EACH, now, first),
        )
        copied = "state, request, options, result, created"
        database.executemany(
            f"INSERT INTO jobs ({copied}, started, ended, position) "
            f"SELECT {copied}, ?, ?, ? FROM jobs WHERE id = {first}",
            [(now - (i + 1) * SECONDS_EACH, now - i * SECONDS_EACH, -i) for i in range(1, ended)],
        )
    for seed in range(waiting):
        pause_job(store, store.add(replace(REQUEST, seed=seed), RuntimeOptions()))
