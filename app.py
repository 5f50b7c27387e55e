"""Starts the page: flags, the worker's supervisor, the server. `python app.py --help` lists the flags."""

import argparse
import contextlib
import ipaddress
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ui.language import LANGUAGES
from ui.logins import Accounts, made_up_account, read_account
from wanvideo.cards import card_environments
from wanvideo.errors import UserError
from wanvideo.fallback import AUTO
from wanvideo.hardware import probe_hardware
from wanvideo.jobs.forms import FormStore
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
    parser.add_argument("--guest", metavar="USER:PASSWORD", help="a second login, for its own videos only")
    parser.add_argument("--models-dir", default=str(ROOT / "models"), metavar="D", help="checkpoints")
    parser.add_argument("--output-dir", default="outputs", metavar="D", help="where results go")
    parser.add_argument("--gpus", type=int, metavar="N", help="cards that make videos side by side; else all")
    parser.add_argument("--lang", choices=list(LANGUAGES), help="language of the page; else the browser's")
    parser.add_argument("--inbrowser", action="store_true", help="open the browser")
    flags = parser.parse_args(arguments)
    for name in ("auth", "guest"):
        given = getattr(flags, name)
        if given is not None and read_account(given) is None:
            parser.exit(2, f"--{name} must be USER:PASSWORD, got {given!r}\n")
    if (flags.listen or not _is_this_machine(flags.host)) and not flags.auth:
        parser.exit(2, "--listen without a password lets anyone in: add --auth USER:PASSWORD\n")
    flags.accounts = _accounts(parser, flags)
    return flags


def _accounts(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> Accounts:
    owner = read_account(flags.auth or "") or (made_up_account() if flags.share else None)
    guest = read_account(flags.guest or "")
    if guest and not owner:
        parser.exit(2, "--guest needs a login of your own: add --auth USER:PASSWORD\n")
    if guest and owner and guest.name == owner.name:
        parser.exit(2, f"--guest needs another name than --auth, got {guest.name!r} for both\n")
    return Accounts(owner=owner, guest=guest)


def _is_this_machine(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def main() -> None:
    """Serve until interrupted; the worker comes up after the page and ends with it."""
    flags = read_flags()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    output = Path(flags.output_dir).resolve()
    # uploads lie where the inputs of a waiting job outlive a restart
    uploads = Path(os.environ.setdefault("GRADIO_TEMP_DIR", str(output / "uploads"))).resolve()
    from ui.doorkeeper import House
    from ui.guests import close_to_guests
    from ui.page import build_page, launch_page
    from ui.serving import safe_launch
    from ui.uploads import UploadCleaner
    from ui.visitors import VisitorStore

    accounts, served = flags.accounts, [output, ROOT / "examples"]
    try:
        store = VisitorStore(queue_file(output), accounts, [*served, uploads])
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
    folders = {"output_dir": str(output), "models_dir": flags.models_dir}
    machine = probe_hardware()
    page = build_page(store, folders, machine)
    close_to_guests(page, accounts)
    house = House(
        accounts=accounts, uploads=uploads, guest_may_read=store.guest_may_read, language=flags.lang
    )
    link = launch_page(page, flags, safe_launch(accounts, served, house))
    tell_login(flags, link)
    cleaner = UploadCleaner(uploads, store.list, FormStore(store.path).every)
    cleaner.start()
    work(store, card_environments(machine, flags.gpus or AUTO))
    cleaner.stop()


def work(store: JobStore, environments: Sequence[Mapping[str, str]]) -> None:
    """A worker in each environment until the page is interrupted."""
    supervisors = [
        Supervisor(store, number=number, environment=environment)
        for number, environment in enumerate(environments)
    ]
    store.clear_suspects()  # what was suspected gets another chance
    for supervisor in supervisors:
        supervisor.start()
    with contextlib.suppress(KeyboardInterrupt):
        supervisors[0].wait()
    for supervisor in supervisors:
        supervisor.stop()


def tell_login(flags: argparse.Namespace, link: str | None) -> None:
    """The link with the login that was made up for it; a chosen one is not repeated."""
    owner = flags.accounts.owner
    if not flags.share or owner is None:
        return
    password = "your own password" if flags.auth else f"password {owner.password}"
    place = link or "The link could not be made; the page here"
    sys.stdout.write(f"{place} asks for user {owner.name}, {password}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
