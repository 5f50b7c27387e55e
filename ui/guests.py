"""What a guest login may not do: every tab but two is closed to it, and so are a few buttons in those.

The rule is laid over the finished page, so that a tab or an event that is added later is closed until it is
named here.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.context import LocalContext

from ui.logins import Accounts
from ui.texts import say

OPEN_TABS = ("generation", "models")  # their ids
CLOSED_PARTS = ("my-presets", "unload", "hold")  # elem_ids in the open tabs, of what is everyone's


def current_visitor() -> str | None:
    """The login whose event is being handled; None on an open page and outside of events."""
    request = LocalContext.request.get(None)
    return getattr(request, "username", None)


def close_to_guests(blocks: gr.Blocks, accounts: Accounts) -> None:
    """Refuse a guest's events in closed parts, keep from guests what goes into them, and hide the tabs."""
    if accounts.guest is None:
        return
    closed = closed_parts(blocks)
    inside = {block._id for block in blocks.blocks.values() if _lies_in(block, closed)}
    refused: set[int] = set()
    for number, function in sorted(blocks.fns.items()):
        if function.trigger_after in refused or any(target in inside for target, _ in function.targets):
            refused.add(number)
        shows = any(output._id in inside for output in function.outputs)
        if function.fn is not None and (shows or number in refused):
            function.fn = _guarded(function.fn, accounts, inside, number in refused)
    with blocks:
        _hide(blocks, closed, accounts)


def _hide(blocks: gr.Blocks, closed: list[Block], accounts: Accounts) -> None:
    """What is closed is not shown to a guest. Gradio hides what is in a tab but not its button: CSS does."""
    parts = [block for block in closed if isinstance(block, (gr.Tab, gr.Accordion, gr.Button))]
    buttons = [f"[data-tab-id='{tab.id or tab._id}']" for tab in parts if isinstance(tab, gr.Tab)]
    rule = f"<style>{', '.join(buttons)} {{display: none !important}}</style>"
    style = gr.HTML(padding=False)

    def show() -> list[Any]:
        is_guest = accounts.is_guest(current_visitor())
        return [rule if is_guest else "", *[gr.update(visible=not is_guest)] * len(parts)]

    blocks.load(show, None, [style, *parts], show_progress="hidden", api_visibility="private")


def closed_parts(blocks: gr.Blocks) -> list[Block]:
    """The tabs that are not open, and the closed parts of those that are."""
    return [
        block
        for block in blocks.blocks.values()
        if (isinstance(block, gr.Tab) and block.id not in OPEN_TABS)
        or getattr(block, "elem_id", None) in CLOSED_PARTS
    ]


def _lies_in(block: Block, closed: list[Block]) -> bool:
    place: Block | None = block
    while place is not None:
        if place in closed:
            return True
        place = place.parent
    return False


def _guarded(
    call: Callable[..., Any], accounts: Accounts, inside: set[int], refused: bool
) -> Callable[..., Any]:
    """`call`, for a guest refused or without what it would show in parts `inside`."""

    def is_guest() -> bool:
        guest = accounts.is_guest(current_visitor())
        if guest and refused:
            raise gr.Error(say("guest_refused"), print_exception=False)
        return guest

    if isgeneratorfunction(call):

        @wraps(call)
        def each(*values: Any) -> Iterator[Any]:
            guest = is_guest()
            yield from (_open_only(made, inside) if guest else made for made in call(*values))

        return each

    @wraps(call)
    def once(*values: Any) -> Any:
        guest = is_guest()
        made = call(*values)
        return _open_only(made, inside) if guest else made

    return once


def _open_only(made: Any, inside: set[int]) -> Any:
    """Of a handler's updates by widget those of open parts; any other answer is for closed ones."""
    updates = made.items() if isinstance(made, dict) else ()
    shown = {widget: update for widget, update in updates if widget._id not in inside}
    return shown or gr.skip()
