"""The vocal separation model among the files of the models folders."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.folders import describe_folder
from wanvideo.checkpoint.recognise import VOCAL_SEPARATOR


def with_vocal_separator(models: ModelSet, folders: Sequence[Path]) -> ModelSet:
    """The model set with the separator of the first folder that has one, the fullest of several; unchanged
    without one. It hears sound alone, so that it serves the models of every folder.
    """
    for folder in folders:
        found = [facts for facts in describe_folder([folder])[0] if facts.component == VOCAL_SEPARATOR]
        if found:
            best = min(found, key=lambda facts: (-facts.num_parameters, -facts.bytes, str(facts.path)))
            return replace(models, vocal_separator=best)
    return models
