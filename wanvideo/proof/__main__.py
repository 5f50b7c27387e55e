"""The process that may crash: `python -m wanvideo.proof KIND NAME ...` answers with a line of JSON for each
row of that table, up to one that raises.

`import MODULE NAME ...` imports a module and looks for names in it, which must be there and true.
"""

import argparse
import faulthandler
import importlib
import json
import os
import sys
from types import TracebackType
from typing import Any

from wanvideo.errors import UserError
from wanvideo.proof.kept import ATTENTION, COMPILE, HEAD_DIM, QUANTIZATION, Trial

IMPORT = "import"
TRIALS = {
    ATTENTION: "wanvideo.proof.attention_trial",
    QUANTIZATION: "wanvideo.proof.matmul_trial",
    COMPILE: "wanvideo.compile_trial",
}
GRACE_SECONDS = 10.0  # after which a trial that nobody ended any more ends itself


def main() -> None:
    """Never returns: what is left running by a kernel's package must not spoil a good answer."""
    arguments = _arguments()
    answers = os.dup(1)
    os.dup2(2, 1)  # packages print, in C too; the answer stays alone on its line
    faulthandler.enable()
    faulthandler.dump_traceback_later(arguments.timeout + GRACE_SECONDS, exit=True)
    sys.excepthook = lambda *error: _end(answers, _failure(*error))
    if arguments.kind == IMPORT:
        module, *names = arguments.names
        _answer(answers, {"fault": _missing(module, names)})
    else:
        _try_each(arguments, answers)
    os._exit(0)


def _try_each(arguments: argparse.Namespace, answers: int) -> None:
    run_trial = importlib.import_module(TRIALS[arguments.kind]).run_trial  # loads torch
    for name in arguments.names:
        trial = Trial(
            kind=arguments.kind,
            name=name,
            device=arguments.device,
            dtype=arguments.dtype,
            head_dim=arguments.head_dim,
            cores=arguments.cores,
        )
        _answer(answers, run_trial(trial))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wanvideo.proof")
    parser.add_argument("kind", choices=[*TRIALS, IMPORT])
    parser.add_argument("names", nargs="+")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="fp32")
    parser.add_argument("--head-dim", type=int, default=HEAD_DIM)
    parser.add_argument("--cores", action="store_true")
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


def _end(answers: int, content: dict[str, Any]) -> None:
    _answer(answers, content)
    os._exit(0)


if __name__ == "__main__":
    main()
