"""The encoders and the VAE that go with a diffusion model: by shape, from its own folder first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wanvideo.checkpoint.folders import model_name
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.pipeline_folder import release_folder
from wanvideo.checkpoint.profiles import private_home
from wanvideo.checkpoint.refusal import UNREADABLE, Refusal
from wanvideo.errors import UserError

MOST_NAMED = 3
_IN_WORDS = {
    "vae": "VAE",
    "text_encoder": "text encoder (UMT5)",
    "image_encoder": "image encoder (CLIP)",
    "infinitetalk": "InfiniteTalk module",
    "speech_encoder": "speech encoder (wav2vec2)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """All there is to choose from, and the number of voices to choose for."""

    usable: Sequence[CheckpointFacts]
    refused: Sequence[Refusal] = ()
    speakers: int = 1

    def fitting(
        self, transformer: CheckpointFacts, component: str, **sizes: int | None
    ) -> CheckpointFacts | None:
        """The best file of that component with these sizes (None is any); None without one.

        Files of a folder with a profile fit the transformers of that folder alone, and the other way round.
        """
        home = private_home(transformer.path)
        fitting = [
            facts
            for facts in self.usable
            if facts.component == component
            and all(size is None or _size(facts, name) == size for name, size in sizes.items())
            and private_home(facts.path) == home
        ]
        return min(fitting, key=lambda facts: self._preference(transformer, facts), default=None)

    def _preference(self, transformer: CheckpointFacts, facts: CheckpointFacts) -> tuple[object, ...]:
        """Sort key, best first."""
        no_tokenizer = facts.component == "text_encoder" and find_tokenizer(facts) is None
        elsewhere = release_folder(facts.path) != release_folder(transformer.path)
        misfit = speech_misfit(facts, self.speakers)
        fullness = (-facts.num_parameters, -facts.bytes)
        return (no_tokenizer, misfit, elsewhere, *fullness, str(facts.path))


def speech_misfit(facts: CheckpointFacts, speakers: int) -> tuple[bool, bool]:
    """Sort key of audio layers: MultiTalk, InfiniteTalk's forerunner, comes last; before it those trained for
    the other number of speakers. Their tensors are alike, only names tell.
    """
    name = f"{facts.path.parent.name} {facts.path.stem}".lower() if facts.has_audio else ""
    other = "multi" if speakers == 1 else "single"
    return "multitalk" in name, other in name.replace("multitalk", "")


def find_companions(
    transformer: CheckpointFacts, speech: bool, installed: Installed
) -> dict[str, CheckpointFacts]:
    """Field of ModelSet -> file. Raises UserError that names everything that is missing."""
    audio = transformer if transformer.has_audio else None
    found: dict[str, CheckpointFacts | None] = {
        "vae": installed.fitting(transformer, "vae"),
        "text_encoder": installed.fitting(transformer, "text_encoder", dim=transformer.text_dim),
    }
    if transformer.has_image_branch:
        found["image_encoder"] = installed.fitting(transformer, "image_encoder", dim=transformer.image_dim)
    if speech:
        if audio is None:
            sizes = {"dim": transformer.dim, "num_layers": transformer.num_layers}
            audio = found["infinitetalk"] = installed.fitting(transformer, "infinitetalk", **sizes)
        features = audio.audio_features if audio else None
        found["speech_encoder"] = installed.fitting(transformer, "speech_encoder", features=features)
    missing = [component for component, facts in found.items() if facts is None]
    if missing:
        raise UserError(_missing(model_name(transformer), missing, installed.refused))
    fields = {"infinitetalk": "audio"}
    return {fields.get(name, name): facts for name, facts in found.items() if facts is not None}


def find_tokenizer(text_encoder: CheckpointFacts) -> Path | None:
    """spiece.model beside the text encoder, or in the folder the releases put it; the file itself when it
    embeds one, as ComfyUI's do; None without one.
    """
    folder = text_encoder.path.parent
    places = (folder, folder / "umt5-xxl", folder / "google" / "umt5-xxl", folder.parent / "tokenizer")
    found = next((place / "spiece.model" for place in places if (place / "spiece.model").is_file()), None)
    return text_encoder.path if found is None and text_encoder.has_tokenizer else found


def require_tokenizer(text_encoder: CheckpointFacts) -> Path:
    """The tokenizer, or UserError that says which file to put where."""
    found = find_tokenizer(text_encoder)
    if found is None:
        raise UserError(
            f"the tokenizer of {text_encoder.path.name} is missing",
            fix=f"Put spiece.model of umt5-xxl into {text_encoder.path.parent}",
        )
    return found


def _size(facts: CheckpointFacts, name: str) -> int | None:
    if name == "features":
        return facts.dim * facts.num_layers
    value: int | None = getattr(facts, name)
    return value


def _missing(name: str, components: Iterable[str], refused: Iterable[Refusal]) -> str:
    """What a model lacks, and the refused files that may be it."""
    components = list(components)
    text = f"{name} lacks its " + " and its ".join(_IN_WORDS[component] for component in components)
    near = [refusal.sentence for refusal in refused if refusal.component in (*components, UNREADABLE)]
    more = f" and {len(near) - MOST_NAMED} more refused files" if len(near) > MOST_NAMED else ""
    return f"{text} ({' '.join(near[:MOST_NAMED])}{more})" if near else text
