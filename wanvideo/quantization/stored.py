"""The weight as it is kept, by the name that this package knows it under, and the formats there are."""

from wanvideo.registry import StoredWeight

__all__ = ["FORMAT_NAMES", "StoredWeight"]

FORMAT_NAMES = ("dense", "e4m3", "e5m2", "int8", "nvfp4", "gguf")
