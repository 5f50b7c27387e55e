"""Who may come in: the owner's login, a guest's, and how often one may guess."""

import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

OWNER = "wan"  # the user name beside a password that nobody chose
FREE_GUESSES = 5
FIRST_WAIT = 30.0  # seconds after that many wrong guesses; doubled by each further one
LONGEST_WAIT = 900.0
MOST_ADDRESSES = 10_000  # that are remembered; those unheard of for longest are forgotten first


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One login."""

    name: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The logins of a page. Without an owner's it stands open to this machine; a guest needs an owner."""

    owner: Account | None = None
    guest: Account | None = None

    def check(self, name: str, password: str) -> bool:
        """Whether that is one of the logins; takes as long for a wrong name as for a wrong password."""
        known = [account for account in (self.owner, self.guest) if account]
        right = [_is_same(account.name, name) & _is_same(account.password, password) for account in known]
        return any(right)

    def is_guest(self, name: str | None) -> bool:
        """Whether that is the guest's name."""
        return self.guest is not None and self.guest.name == name


def read_account(text: str) -> Account | None:
    """USER:PASSWORD; None when either half is empty. Only the first colon divides."""
    name, _, password = text.partition(":")
    name = name.strip()  # as gradio does with what is typed
    return Account(name=name, password=password) if name and password else None


def made_up_account() -> Account:
    """A login for a link that is about to become public: 96 random bits."""
    return Account(name=OWNER, password=secrets.token_urlsafe(12))


def _is_same(known: str, given: str) -> bool:
    return hmac.compare_digest(known.encode(), given.encode("utf-8", "replace"))


@dataclass(slots=True)
class _Guesses:
    wrong: int = 0
    wait_until: float = 0.0


class LoginLimit:
    """Counts wrong logins by address: after `FREE_GUESSES` each makes that address wait twice as long."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._guesses: OrderedDict[str, _Guesses] = OrderedDict()

    def seconds_to_wait(self, address: str) -> float:
        """0 when the address may try now."""
        with self._lock:
            known = self._guesses.get(address)
            return max(0.0, known.wait_until - self._now()) if known else 0.0

    def count(self, address: str, was_right: bool) -> None:
        """What a login came to. A right one clears the address."""
        with self._lock:
            if was_right:
                self._guesses.pop(address, None)
                return
            known = self._guesses.setdefault(address, _Guesses())
            self._guesses.move_to_end(address)
            known.wrong += 1
            if known.wrong >= FREE_GUESSES:
                wait = FIRST_WAIT * 2 ** min(known.wrong - FREE_GUESSES, 10)
                known.wait_until = self._now() + min(wait, LONGEST_WAIT)
            if len(self._guesses) > MOST_ADDRESSES:
                self._guesses.popitem(last=False)
