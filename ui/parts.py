"""The page's parts by name: what every event is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ui.fields import Form, Values, collect
from ui.files import FilesTab
from ui.gallery import GalleryTab
from ui.generation import GenerationTab
from ui.model_settings import ModelSettingsTab, find_checkpoints, lora_choices
from ui.system import SystemTab
from ui.workflow import WorkflowPart
from wanvideo.checkpoint.folders import model_names
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.jobs.forms import FormStore
from wanvideo.jobs.store import JobStore
from wanvideo.live_meter import LiveMeter
from wanvideo.request import GenerationRequest, RuntimeOptions, read_options, read_request, split_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The names that the form may hold: diffusion models and LoRAs of the model folders."""

    models: Sequence[str]
    loras: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that events connect. `folders` are the option fields that only start flags set."""

    store: JobStore
    forms: FormStore
    folders: Mapping[str, str]
    machine: Hardware
    form: Form
    generation: GenerationTab
    models: ModelSettingsTab
    workflow: WorkflowPart
    files: FilesTab
    tabs: Any
    gallery: GalleryTab
    system: SystemTab
    meter: LiveMeter = field(default_factory=LiveMeter)

    def read(self, values: Values) -> tuple[GenerationRequest, RuntimeOptions]:
        """The widgets as request and options. Raises UserError."""
        return self.read_settings(collect(self.form, values))

    def read_settings(self, settings: Mapping[str, Any]) -> tuple[GenerationRequest, RuntimeOptions]:
        """Settings by field name as request and options. Raises UserError, also for a model or LoRA outside
        the folders: the engine would open any file of this machine for whoever may see the page.
        """
        asked, opted = split_settings(settings)
        request, options = read_request(asked), read_options({**opted, **self.folders})
        known = self.read_folders() if request.model is not None or request.loras else None
        if known and request.model not in (None, *known.models):
            raise UserError("unknown model", value=request.model, allowed=known.models or "none is installed")
        for lora in request.loras:
            if known and lora.file not in known.loras:
                raise UserError("unknown LoRA", value=lora.file, allowed=known.loras or "none is installed")
        return request, options

    def read_folders(self) -> Installed:
        """What lies in the model folders now."""
        options = read_options(self.folders)
        loras = [name for _, name in lora_choices(options) if name]
        return Installed(models=list(model_names(find_checkpoints(options)[0])), loras=loras)
