"""The video that is chosen in the gallery, and what is known of how it was made."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from ui.going_on import output_folder
from ui.parts import Page
from ui.restore import settings_of_job
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.library.results import Result, find_result
from wanvideo.library.settings import VideoSettings

View: TypeAlias = Mapping[str, Any]  # a visitor's look at the tab, see NO_CHOICE


def chosen_result(page: Page, seen: View) -> Result:
    """Raises UserError when there is none or it is gone."""
    if seen["name"] is None:
        raise UserError(say("gallery_lost").rstrip("."))
    return find_result(output_folder(page), seen["name"])


def told_settings(page: Page, result: Result) -> VideoSettings | UserError:
    """Those of the job that made the video, else those in the file, else why there are none."""
    if result.facts.fault:
        return UserError(result.facts.fault.rstrip("."))
    try:
        return settings_of_job(page.store, result.path) or result.settings()
    except UserError as error:
        return error
