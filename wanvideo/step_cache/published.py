"""Which published model a job runs on, for the figures that the authors of step caches measured of each."""

from wanvideo.checkpoint.catalog import ModelSet

T2V_SMALL, T2V, I2V_480, I2V_720 = (
    "Wan 2.1 T2V 1.3B",
    "Wan 2.1 T2V 14B",
    "Wan 2.1 I2V 480p",
    "Wan 2.1 I2V 720p",
)
_TEXT_MODELS = {(1536, 30): T2V_SMALL, (5120, 40): T2V}
_PICTURE_MODELS = {(5120, 40, 480): I2V_480, (5120, 40, 720): I2V_720}
MODELS = (*_TEXT_MODELS.values(), *_PICTURE_MODELS.values())


def published_model(models: ModelSet) -> str:
    """One of MODELS, by its size; empty for another. A LoRA or an audio module on it changes neither the
    embedding of the timestep nor, by much, how outputs grow from step to step.
    """
    size = models.transformer.dim, models.transformer.num_layers
    if models.image_encoder is None:
        return _TEXT_MODELS.get(size, "")
    return _PICTURE_MODELS.get((*size, models.profile.tier), "")
