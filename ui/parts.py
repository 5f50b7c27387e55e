"""The page's parts by name: what every event is given."""

from collections.abc import Mapping
from dataclasses import dataclass

from ui.fields import Form, Values, collect
from ui.generation import GenerationTab
from ui.model_settings import ModelSettingsTab
from wanvideo.jobs.store import JobStore
from wanvideo.request import GenerationRequest, RuntimeOptions, read_options, read_request, split_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that events connect. `folders` are the option fields that only start flags set."""

    store: JobStore
    folders: Mapping[str, str]
    form: Form
    generation: GenerationTab
    models: ModelSettingsTab

    def read(self, values: Values) -> tuple[GenerationRequest, RuntimeOptions]:
        """The widgets as request and options. Raises UserError."""
        asked, options = split_settings(collect(self.form, values))
        return read_request(asked), read_options({**options, **self.folders})
