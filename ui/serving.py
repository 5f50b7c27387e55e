"""What `Blocks.launch` is told so that nothing but the page and its results leaves this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ui.doorkeeper import MAX_UPLOAD_BYTES, Doorkeeper, House
from ui.logins import Accounts

PRIVATE_FOLDERS = ("jobs", "trash")  # of a served folder: the queue with its log, and what was deleted


def safe_launch(accounts: Accounts, served: Sequence[Path], house: House) -> Mapping[str, Any]:
    """Arguments of `launch`. Of the disk only the folders `served` can be read; links are resolved first."""
    gr.set_static_paths(list(served))
    return {
        "auth": accounts.check if accounts.owner else None,
        "blocked_paths": [str(folder / name) for folder in served for name in PRIVATE_FOLDERS],
        "max_file_size": MAX_UPLOAD_BYTES,
        "run_history": False,  # its routes answer without a login
        "enable_monitoring": False,
        "app_kwargs": {"middleware": [Middleware(Doorkeeper, house=house)]},
    }
