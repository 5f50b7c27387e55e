"""Starts the page: flags, the worker's supervisor, the server. `python app.py --help` lists the flags."""

import argparse
import contextlib
import os
import secrets
import sys
from pathlib import Path

from wanvideo.errors import UserError
from wanvideo.hardware import probe_hardware
from wanvideo.jobs.job import queue_file
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.supervisor import Supervisor

ROOT = Path(__file__).parent


def read_flags(arguments: list[str] | None = None) -> argparse.Namespace:
    """The start flags. Exits with 2 and one line when the page would stand open to the network."""
    parser = argparse.ArgumentParser(description="The page of Wan Video Studio.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--listen", action="store_true", help="let other machines in; needs --auth")
    parser.add_argument("--share", action="store_true", help="make a public link, with a password")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="ask for this login")
    parser.add_argument("--models-dir", default=str(ROOT / "models"), metavar="D", help="checkpoints")
    parser.add_argument("--output-dir", default="outputs", metavar="D", help="where results go")
    parser.add_argument("--inbrowser", action="store_true", help="open the browser")
    flags = parser.parse_args(arguments)
    if flags.auth and not all(flags.auth.partition(":")[::2]):
        parser.exit(2, f"--auth must be USER:PASSWORD, got {flags.auth!r}\n")
    if (flags.listen or flags.host not in ("127.0.0.1", "localhost", "::1")) and not flags.auth:
        parser.exit(2, "--listen without a password lets anyone in: add --auth USER:PASSWORD\n")
    if flags.share and not flags.auth:
        flags.auth = f"wan:{secrets.token_urlsafe(9)}"
        sys.stdout.write(f"Login for the shared link: {flags.auth.replace(':', ' / ')}\n")
    return flags


def main() -> None:
    """Serve until interrupted; the worker comes up after the page and ends with it."""
    flags = read_flags()
    output = Path(flags.output_dir).resolve()
    # uploads lie where the inputs of a waiting job outlive a restart
    os.environ.setdefault("GRADIO_TEMP_DIR", str(output / "uploads"))
    from ui.page import build_page, launch_page

    try:
        store = JobStore(queue_file(output))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    folders = {"output_dir": str(output), "models_dir": flags.models_dir}
    supervisor = Supervisor(store)
    launch_page(build_page(store, folders, probe_hardware()), flags, [output, ROOT / "examples"])
    supervisor.start()
    with contextlib.suppress(KeyboardInterrupt):
        supervisor.wait()
    supervisor.stop()


if __name__ == "__main__":
    main()
