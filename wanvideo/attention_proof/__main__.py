"""The process that may crash: `python -m wanvideo.attention_proof NAME` answers with one line of JSON.

With `--import` it imports a module of that name and looks for names in it, which must be there and true.
"""

import argparse
import faulthandler
import importlib
import json
import os
import sys
from types import TracebackType
from typing import Any

from wanvideo.attention_proof.proof import HEAD_DIM, Trial
from wanvideo.errors import UserError

GRACE_SECONDS = 10.0  # after which a trial that nobody ended any more ends itself


def main() -> None:
    """Never returns: what is left running by a kernel's package must not spoil a good answer."""
    arguments = _arguments()
    answers = os.dup(1)
    os.dup2(2, 1)  # packages print, in C too; the answer stays alone on its line
    faulthandler.enable()
    faulthandler.dump_traceback_later(arguments.timeout + GRACE_SECONDS, exit=True)
    sys.excepthook = lambda *error: _answer(answers, _failure(*error))
    if arguments.names is not None:
        _answer(answers, {"fault": _missing(arguments.name, arguments.names)})
    from wanvideo.attention_proof.trial import run_trial  # loads torch

    trial = Trial(
        backend=arguments.name,
        device=arguments.device,
        dtype=arguments.dtype,
        head_dim=arguments.head_dim,
    )
    _answer(answers, run_trial(trial))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wanvideo.attention_proof")
    parser.add_argument("name")
    parser.add_argument("--import", dest="names", nargs="*", metavar="NAME_IN_IT")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--head-dim", type=int, default=HEAD_DIM)
    parser.add_argument("--timeout", type=float, default=600.0)
    return parser.parse_args()


def _missing(module: str, names: list[str]) -> str:
    found = importlib.import_module(module)
    absent = [name for name in names if not getattr(found, name, False)]
    return f"it lacks {', '.join(absent)}" if absent else ""


def _failure(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> dict[str, Any]:
    """Of an exception that nothing caught. A card that is full says nothing about the backend."""
    sys.__excepthook__(kind, error, trace)
    text = error.what if isinstance(error, UserError) else f"{kind.__name__}: {error}"
    return {
        "fault": next(iter(text.splitlines()), kind.__name__),
        "out_of_memory": kind.__name__ in ("OutOfMemoryError", "MemoryError"),
    }


def _answer(answers: int, content: dict[str, Any]) -> None:
    os.write(answers, f"{json.dumps(content)}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    main()
