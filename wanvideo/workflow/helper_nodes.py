"""Nodes around a model: what loads inputs, resizes, computes numbers, joins, shows and saves."""

from collections.abc import Mapping

from wanvideo.workflow.rows import INPUT, INT, NUMBER, SPEECH, TEXT, NodeRow, Widget, other, to

_PICTURE_ROLES = {"start_image": "image", "end_image": "end_image"}
_VIDEO_ROLES = {"start_image": "video", "samples": "video", "latent_image": "video"}
_SOUND_ROLES = dict(zip(("audio_1", "audio_2"), SPEECH, strict=True))
_UPLOAD = other("upload", TEXT, "only the page's button")
_FIT = "the app covers the video with the picture and crops it in the middle"
_CUT = "the video is as long as the speech, or as Seconds says"

# Past these a picture or a prompt is no longer what it was.
ENDS_OF_TRACE = frozenset(("ConditioningZeroOut",))
_DECODERS = frozenset(("WanVideoDecode", "VAEDecode", "VAEDecodeTiled"))

# Kinds whose one value is what their output gives; by output slot where they have several.
VALUE_KINDS = frozenset(
    (
        *("PrimitiveNode", "PrimitiveInt", "PrimitiveFloat", "PrimitiveString", "PrimitiveBoolean"),
        *("PrimitiveStringMultiline", "INTConstant", "FloatConstant", "BOOLConstant", "StringConstant"),
        *("StringConstantMultiline", "Int", "Float", "String", "ttN int", "ttN float", "ttN text"),
        *("easy int", "easy float", "easy string", "easy boolean", "CR Text", "Text Multiline"),
        *("JWInteger", "JWFloat", "JWString", "ImpactInt", "ImpactFloat", "Seed (rgthree)", "easy seed"),
    )
)
VALUE_SLOTS: Mapping[str, Mapping[int, str]] = {
    kind: {1: "width", 2: "height"} for kind in ("ImageResizeKJ", "ImageResizeKJv2")
}

_RESIZE = (
    *(other(name, INT, _FIT) for name in ("width", "height")),
    *(other(name, TEXT, _FIT) for name in ("upscale_method", "keep_proportion", "pad_color")),
    other("crop_position", TEXT, _FIT),
    other("divisible_by", INT, _FIT),
    other("device", TEXT, _FIT),
)
_INPUTS = (
    NodeRow(
        kinds=("LoadImage",),
        widgets=(Widget(name="image", shape=TEXT, file=INPUT, roles=_PICTURE_ROLES), _UPLOAD),
    ),
    NodeRow(
        kinds=("LoadAudio", "VHS_LoadAudioUpload"),
        widgets=(
            Widget(name="audio", shape=TEXT, file=INPUT, roles=_SOUND_ROLES),
            other("audioUI", TEXT, "only the page's player"),
            _UPLOAD,
            *(other(name, NUMBER, _CUT) for name in ("start_time", "duration")),
        ),
    ),
    NodeRow(
        kinds=("LoadVideo",),
        widgets=(Widget(name="file", shape=TEXT, file=INPUT, roles=_VIDEO_ROLES), _UPLOAD),
    ),
    NodeRow(
        kinds=("VHS_LoadVideo",),
        widgets=(
            Widget(name="video", shape=TEXT, file=INPUT, roles=_VIDEO_ROLES),
            *(
                other(name, NUMBER, "the source video is read at the video's own rate and size")
                for name in (
                    *("force_rate", "custom_width", "custom_height", "frame_load_cap"),
                    *("skip_first_frames", "select_every_nth"),
                )
            ),
        ),
    ),
    NodeRow(kinds=("ImageResizeKJv2", "ImageResizeKJ"), widgets=_RESIZE),
    NodeRow(
        kinds=("AudioSeparation", "MelBandRoFormerSampler"),
        sets={"separate_vocals": True},
        says="the model hears the voice alone",
    ),
    NodeRow(
        kinds=("MelBandRoFormerModelLoader",),
        widgets=(Widget(name="model_name", shape=TEXT, file="vocal_separator"),),
    ),
    NodeRow(
        kinds=("AudioCrop",),
        widgets=(other("start_time", TEXT, _CUT), other("end_time", TEXT, _CUT)),
    ),
)

_DONE_HERE = (
    NodeRow(
        kinds=("VHS_VideoCombine",),
        widgets=(to("frame_rate", NUMBER, "fps", weak=True, images_from=_DECODERS),),
        says="the file is an mp4 with the original sound",
    ),
    NodeRow(kinds=("CreateVideo",), widgets=(to("fps", NUMBER, weak=True, images_from=_DECODERS),)),
    NodeRow(
        kinds=("SaveWEBM", "SaveAnimatedWEBP", "SaveAnimatedPNG"),
        widgets=(),
        says="the file is an mp4; a gif or pictures can be made of it",
    ),
    NodeRow(kinds=("VAEDecode", "VAEDecodeTiled"), says="the app decodes what it makes"),
    NodeRow(kinds=("VAEEncode", "WanVideoEncode"), says="the app encodes what it is given"),
    NodeRow(
        kinds=(
            *("SaveVideo", "SaveImage", "SaveAudio", "PreviewImage", "PreviewAudio", "PreviewAny"),
            *("Note", "MarkdownNote", "Label (rgthree)", "Fast Groups Bypasser (rgthree)"),
            *(
                "Fast Groups Muter (rgthree)",
                "easy showAnything",
                "ShowText|pysssss",
                "Display Any (rgthree)",
            ),
            *("GetImageSize", "GetImageSizeAndCount", "GetImageRangeFromBatch", "ImageConcatMulti"),
        ),
        says="it only shows, saves or measures",
    ),
    NodeRow(
        kinds=("SimpleMath+", "MathExpression|pysssss", "Audio Duration (mtb)", "easy mathInt", "mxSlider"),
        says="it computes a number for another node",
    ),
    NodeRow(kinds=tuple(sorted(VALUE_KINDS)), says="it holds a value for another node"),
    NodeRow(kinds=("GetNode", "SetNode", "Reroute"), says="it leads a link on"),
)

ROWS = (*_INPUTS, *_DONE_HERE)
