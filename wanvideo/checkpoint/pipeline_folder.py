"""Folders of diffusers: model_index.json beside one folder for each part of a model."""

from pathlib import Path

INDEX_NAME = "model_index.json"
WEIGHTS = (".safetensors", ".bin")


def release_folder(path: Path) -> Path:
    """The folder whose files belong to each other: that of the file, or the pipeline's around it."""
    folder = path.absolute().parent
    return folder.parent if (folder.parent / INDEX_NAME).is_file() else folder


def parts_of(folder: Path) -> list[str]:
    """Names of the parts of a pipeline that hold weights; none for a folder that is no pipeline."""
    if not (folder / INDEX_NAME).is_file():
        return []
    parts = (part for part in folder.iterdir() if part.is_dir())
    return sorted(
        part.name for part in parts if any(file.suffix.lower() in WEIGHTS for file in part.iterdir())
    )
