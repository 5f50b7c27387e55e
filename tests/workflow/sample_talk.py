"""An InfiniteTalk workflow over the tiny models, and the settings in it."""

from tests.workflow.formats import Sketch, Workflow
from tests.workflow.sample_workflows import sampler


def infinite_talk() -> Workflow:
    """The values that people know from the InfiniteTalk workflow, with every kind of node around them."""
    return {
        "122": Sketch(
            kind="WanVideoModelLoader",
            widgets={
                "model": "wan\\infinitetalk\\tiny_i2v.safetensors",
                "base_precision": "bf16",
                "quantization": "fp4_scaled",
                "load_device": "main_device",
                "attention_mode": "sageattn_3_fp4",
                "rms_norm_function": "default",
            },
            links={"block_swap_args": ("259", 0), "compile_args": ("177", 0), "multitalk_model": ("120", 0)},
        ),
        "120": Sketch(kind="MultiTalkModelLoader", widgets={"model": "tiny_infinitetalk.safetensors"}),
        "177": Sketch(
            kind="WanVideoTorchCompileSettings",
            widgets={"backend": "inductor", "fullgraph": False, "mode": "default", "dynamic": False},
        ),
        "259": Sketch(
            kind="WanVideoEnhancedBlockSwap",
            widgets={
                "blocks_to_swap": 40,
                "enable_cuda_optimization": True,
                "enable_dram_optimization": True,
                "auto_hardware_tuning": False,
                "vram_threshold_percent": 80.0,
                "num_cuda_streams": 16,
                "bandwidth_target": 1.0,
                "offload_txt_emb": False,
                "offload_img_emb": False,
                "vace_blocks_to_swap": 0,
                "debug_mode": False,
            },
        ),
        "284": Sketch(kind="LoadImage", widgets={"image": "girl.png"}),
        "281": Sketch(
            kind="ImageResizeKJv2",
            widgets={
                "width": 640,
                "height": 720,
                "upscale_method": "lanczos",
                "keep_proportion": "crop",
                "pad_color": "0, 0, 0",
                "crop_position": "center",
                "divisible_by": 16,
                "device": "cpu",
            },
            links={"image": ("284", 0)},
        ),
        "125": Sketch(kind="LoadAudio", widgets={"audio": "hello.wav"}),
        "159": Sketch(
            kind="AudioCrop", widgets={"start_time": "0:00", "end_time": "0:10"}, links={"audio": ("125", 0)}
        ),
        "170": Sketch(
            kind="AudioSeparation", widgets={"chunk_fade_shape": "linear"}, links={"audio": ("159", 0)}
        ),
        "300": Sketch(kind="Audio Duration (mtb)", links={"audio": ("159", 0)}),
        "301": Sketch(kind="SimpleMath+", widgets={"value": "a*25"}, links={"a": ("300", 0)}),
        "137": Sketch(
            kind="DownloadAndLoadWav2VecModel",
            widgets={
                "model": "TencentGameMate/chinese-wav2vec2-base",
                "base_precision": "fp16",
                "load_device": "main_device",
            },
        ),
        "194": Sketch(
            kind="MultiTalkWav2VecEmbeds",
            widgets={
                "normalize_loudness": True,
                "num_frames": 250,
                "fps": 25.0,
                "audio_scale": 1.0,
                "audio_cfg_scale": 1.0,
                "multi_audio_type": "para",
            },
            links={"wav2vec_model": ("137", 0), "audio_1": ("170", 3), "num_frames": ("301", 0)},
        ),
        "238": Sketch(kind="CLIPVisionLoader", widgets={"clip_name": "tiny_clip.safetensors"}),
        "237": Sketch(
            kind="WanVideoClipVisionEncode",
            widgets={
                "strength_1": 1.0,
                "strength_2": 1,
                "crop": "center",
                "combine_embeds": "average",
                "force_offload": True,
                "tiles": 0,
                "ratio": 0.5,
            },
            links={"clip_vision": ("238", 0), "image_1": ("281", 0)},
        ),
        "192": Sketch(
            kind="WanVideoImageToVideoMultiTalk",
            widgets={
                "width": 832,
                "height": 480,
                "frame_window_size": 81,
                "motion_frame": 25,
                "force_offload": False,
                "colormatch": "disabled",
                "tiled_vae": False,
                "mode": "infinitetalk",
                "output_path": "",
            },
            links={
                "start_image": ("281", 0),
                "clip_embeds": ("237", 0),
                "width": ("281", 1),
                "height": ("281", 2),
            },
        ),
        "302": Sketch(kind="ttN text", widgets={"text": "a woman talks | she smiles"}),
        "241": Sketch(
            kind="WanVideoTextEncode",
            widgets={"positive_prompt": "", "negative_prompt": "blur", "force_offload": True},
            links={"positive_prompt": ("302", 0)},
        ),
        "128": _talk_sampler(),
        "130": Sketch(
            kind="WanVideoDecode", widgets={"enable_vae_tiling": False}, links={"samples": ("128", 0)}
        ),
        "131": Sketch(
            kind="VHS_VideoCombine",
            widgets={
                "frame_rate": 25,
                "loop_count": 0,
                "filename_prefix": "talk",
                "format": "video/h264-mp4",
            },
            links={"images": ("130", 0), "audio": ("194", 1)},
        ),
        "303": Sketch(kind="easy showAnything", links={"anything": ("301", 0)}),
    }


def _talk_sampler() -> Sketch:
    last = dict.fromkeys(
        ("use_tf32", "use_cublas_gemm", "force_contiguous_tensors", "fuse_qkv_projections"), False
    )
    plain = sampler(
        {"steps": 6, "cfg": 1, "shift": 7, "seed": 2}, model="122", text="241", images="192", **last
    )
    widgets = {**plain.widgets, "force_offload": False, "scheduler": "dpm++_sde"}
    return Sketch(kind=plain.kind, widgets=widgets, links={**plain.links, "multitalk_embeds": ("194", 0)})


TALK_VALUES = {
    "task": "talk",
    "model": "tiny_i2v",
    "base_precision": "bf16",
    "quantization": "fp4_scaled",
    "load_device": "main_device",
    "attention": "sageattn_3_fp4",
    "rms_norm_function": "default",
    "blocks_to_swap": 40,
    "enable_cuda_optimization": True,
    "enable_dram_optimization": True,
    "auto_hardware_tuning": False,
    "vram_threshold_percent": 80,
    "num_cuda_streams": 16,
    "bandwidth_target": 1.0,
    "offload_txt_emb": False,
    "offload_img_emb": False,
    "vace_blocks_to_swap": 0,
    "debug_mode": False,
    "separate_vocals": True,
    "audio_guidance_scale": 1.0,
    "audio_order": "together",
    "width": 640,
    "height": 720,
    "window_frames": 81,
    "motion_frames": 25,
    "force_offload": False,
    "color_correction": 0.0,
    "prompt": "a woman talks | she smiles",
    "negative_prompt": "blur",
    "num_inference_steps": 6,
    "guidance_scale": 1.0,
    "flow_shift": 7.0,
    "seed": 2,
    "sampler": "dpm++_sde",
    "riflex_freq_index": 0,
    "start_step": 0,
    "use_tf32": False,
    "use_cublas_gemm": False,
    "force_contiguous_tensors": False,
    "fuse_qkv_projections": False,
    "compile": "blocks",
    "fps": 25.0,
}
