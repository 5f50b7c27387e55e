"""One zip to send to somebody who helps: versions, machine, trials, the end of the log, the last failed job.

No picture, no sound, no video and no folder name goes into it; the prompt of the failed job does.
"""

import json
import platform
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from wanvideo import __version__
from wanvideo.diagnostics.caches import disk_state, list_caches
from wanvideo.diagnostics.logs import log_tail
from wanvideo.diagnostics.places import known_places, without_places
from wanvideo.errors import UserError
from wanvideo.fields import Row
from wanvideo.hardware import Hardware
from wanvideo.jobs.job import FAILED, Job
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.worker import LOG_NAME
from wanvideo.library.settings import base_name
from wanvideo.proof.kept import read_proofs
from wanvideo.proof.versions import versions_of
from wanvideo.request import OPTION_FIELDS, REQUEST_FIELDS

FOLDER = "diagnostics"  # in the output folder
LOG_LINES = 2000
LOOKED_THROUGH = 500  # ended jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What a report is about: the queue, its machine, and the folders of the options."""

    store: JobStore
    machine: Hardware
    output_dir: str
    models_dir: str

    @property
    def places(self) -> dict[str, str]:
        """Folder -> its word in what is shown."""
        return known_places(self.output_dir, self.models_dir)


def write_report(of: Installation) -> Path:
    """The zip, in the folder `diagnostics` of the output folder. UserError when it can't be written."""
    stamp = datetime.now().strftime("%Y-%m-%d_%H%M%S")
    path = Path(of.output_dir) / FOLDER / f"wan_diagnostics_{stamp}.zip"
    half = path.with_suffix(".part")
    parts = report_parts(of)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in parts.items():
                archive.writestr(name, text)
        half.replace(path)
    except OSError as error:
        raise UserError(f"the report can't be written: {error.strerror or error}") from error
    return path


def report_parts(of: Installation) -> dict[str, str]:
    """File name -> its text."""
    proofs = read_proofs(of.machine)
    contents: dict[str, Any] = {
        "versions.json": {"app": __version__, "system": platform.platform(), **versions_of(of.machine)},
        "machine.json": asdict(of.machine),
        "trials.json": {
            name: asdict(proof) for name, proof in {**proofs.attention, **proofs.quantization}.items()
        },
        "disk.json": {
            "output": asdict(disk_state(of.output_dir)),
            "caches": [asdict(one) for one in list_caches()],
        },
        "last_failed_job.json": _described(last_failed(of.store)),
    }
    told = {name: json.dumps(_clean(part, of.places), indent=2) for name, part in contents.items()}
    return {**told, LOG_NAME: "\n".join(log_tail(of.output_dir, LOG_LINES, of.places))}


def last_failed(store: JobStore) -> Job | None:
    """The job that failed last, among those that ended lately."""
    failed = [job for job in store.list(limit=LOOKED_THROUGH) if job.state == FAILED]
    return max(failed, key=lambda job: job.ended or 0.0, default=None)


def _described(job: Job | None) -> dict[str, Any]:
    if job is None:
        return {}
    return {
        "id": job.id,
        "error": job.error,
        "attempts": job.attempts,
        "progress": dict(job.progress),
        "request": {name: _bare(REQUEST_FIELDS.get(name), value) for name, value in job.request.items()},
        "options": {name: value for name, value in job.options.items() if not _is_folder(name)},
    }


def _is_folder(name: str) -> bool:
    row = OPTION_FIELDS.get(name)
    return row is not None and row.kind == "path" or name.endswith("_dir")


def _bare(row: Row | None, value: Any) -> Any:
    """A file by its name."""
    if row is None or value is None:
        return value
    if row.kind == "path" or row.name == "model":
        return base_name(str(value))
    if row.kind == "paths":
        return [base_name(str(path)) for path in value]
    if row.kind == "loras":
        return [{**lora, "file": base_name(str(lora["file"]))} for lora in value]
    return value


def _clean(value: Any, places: Mapping[str, str]) -> Any:
    """Every text in it without folders."""
    if isinstance(value, str):
        return without_places(value, places)
    if isinstance(value, Mapping):
        return {str(key): _clean(part, places) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(part, places) for part in value]
    return value
