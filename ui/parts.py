"""The page's parts by name: what every event is given."""

from collections.abc import Mapping
from dataclasses import dataclass

from ui.fields import Form, Values, collect
from ui.files import FilesTab
from ui.generation import GenerationTab
from ui.model_settings import ModelSettingsTab, find_checkpoints, lora_choices
from wanvideo.checkpoint.folders import model_names
from wanvideo.errors import UserError
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
    files: FilesTab

    def read(self, values: Values) -> tuple[GenerationRequest, RuntimeOptions]:
        """The widgets as request and options. Raises UserError, also for a model or LoRA outside the folders:
        the engine would open any file of this machine for whoever may see the page.
        """
        asked, opted = split_settings(collect(self.form, values))
        request, options = read_request(asked), read_options({**opted, **self.folders})
        if request.model is not None:
            names = list(model_names(find_checkpoints(options)[0]))
            if request.model not in names:
                raise UserError("unknown model", value=request.model, allowed=names or "none is installed")
        if request.loras:
            names = [name for _, name in lora_choices(options)]
            for lora in request.loras:
                if lora.file not in names:
                    raise UserError("unknown LoRA", value=lora.file, allowed=names[1:] or "none is installed")
        return request, options
