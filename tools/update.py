"""What stands behind update.sh and update.bat: the newest version, with one step back to the one before.

Runs with whatever Python there is and uses the standard library only. Models, results and settings are no
part of the version and stay as they are; the next start installs packages that a version needs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "refs/wanvideo/before-update"  # git keeps what a reference names
DONE, REFUSED, USAGE = 0, 1, 2


class UpdateError(Exception):
    """Something the person at the keyboard can put right; shown as it is."""


def main(arguments: list[str], folder: Path = ROOT) -> int:
    """`update`, or `update --back`. Returns the exit code."""
    if arguments not in ([], ["--back"]):
        say("Without an argument: the newest version. --back: the version before the last update.")
        return USAGE
    try:
        _check(folder)
        say(go_back(folder) if arguments else update(folder))
    except UpdateError as error:
        say(str(error))
        return REFUSED
    return DONE


def update(folder: Path) -> str:
    """Fetch and take over what is new; says what happened. Raises UpdateError, and all is as before."""
    here = _git(folder, "rev-parse", "HEAD")
    if not _git(folder, "rev-parse", "--abbrev-ref", "@{upstream}", fails_with=""):
        raise UpdateError(
            "This copy follows no branch of a repository: git branch --set-upstream-to sets one."
        )
    _git(folder, "fetch", "--quiet", fails_with="The repository does not answer")
    count = _git(folder, "rev-list", "--count", "HEAD..@{upstream}")
    if count == "0":
        return "This is the newest version already."
    _git(
        folder, "merge", "--ff-only", "--quiet", "@{upstream}", fails_with="This copy has commits of its own"
    )
    _git(folder, "update-ref", BEFORE, here)
    return f"Updated by {count} changes. Start as usual; update --back returns to the version before."


def go_back(folder: Path) -> str:
    """Return to the version before the last update. Raises UpdateError."""
    before = _git(folder, "rev-parse", "--verify", "--quiet", BEFORE, fails_with="")
    if not before:
        raise UpdateError("There was no update that could be taken back.")
    _git(folder, "reset", "--keep", "--quiet", before, fails_with="The version before can't be restored")
    _git(folder, "update-ref", "-d", BEFORE)
    return "This is the version before the last update again."


def _check(folder: Path) -> None:
    """Refuse a copy that git does not know, or whose own files were changed: nothing may be lost."""
    if not (folder / ".git").exists():
        raise UpdateError(
            "This copy was not cloned with git. Unpack the new version beside it and move models/ and "
            "outputs/ there."
        )
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if changed:
        names = ", ".join(line[2:].strip() for line in changed.splitlines()[:5])
        raise UpdateError(f"Files of the program were changed here: {names}. Undo or commit that first.")


def _git(folder: Path, *arguments: str, fails_with: str | None = None) -> str:
    """What git answers. A failure is an UpdateError that begins with `fails_with`; with "" no answer."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise UpdateError("git is not installed.") from None
    if done.returncode and fails_with != "":
        told = " ".join(done.stderr.split())
        raise UpdateError(f"{fails_with or 'git failed'}: {told}")
    return "" if done.returncode else done.stdout.strip()


def say(text: str) -> None:
    sys.stderr.write(f"[update] {text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
