"""The two exceptions that are part of the story: a mistake a person can mend, and a stop a person asked
for.
"""


class UserError(Exception):
    """Something the user can put right. Its text is shown as it is; any other exception is a bug of ours.

    `what` names the problem, `value` the offending value, `allowed` what is accepted, `fix` what to do next.
    """

    def __init__(self, what: str, *, value: object = None, allowed: object = None, fix: str = "") -> None:
        self.what, self.value, self.allowed, self.fix = what, value, allowed, fix
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        text = self.what
        if self.value is not None:
            text += f", got {self.value!r}"
        if self.allowed is not None:
            allowed = (
                self.allowed
                if isinstance(self.allowed, str)
                else ", ".join(map(str, _as_items(self.allowed)))
            )
            text += f"; allowed: {allowed}"
        return f"{text}. {self.fix}".strip()


class Cancelled(Exception):
    """The user pressed stop. Raised by a progress callback; `with` blocks put every model back on the way
    out.
    """


def _as_items(allowed: object) -> list[object]:
    return list(allowed) if isinstance(allowed, (list, tuple, set, frozenset, dict)) else [allowed]
