"""A text to video and an image to video workflow over the tiny models, and the settings in them."""

from collections.abc import Mapping
from typing import Any

from tests.workflow.formats import Sketch, Workflow


def text_to_video() -> Workflow:
    return {
        "1": Sketch(
            kind="WanVideoModelLoader",
            widgets={
                "model": "Wan\\2.1\\tiny_t2v.safetensors",
                "base_precision": "bf16_fast",
                "quantization": "fp8_e4m3fn_scaled",
                "load_device": "offload_device",
                "attention_mode": "flash_attn",
                "rms_norm_function": "pytorch",
            },
            links={"block_swap_args": ("2", 0), "lora": ("3", 0)},
        ),
        "2": Sketch(
            kind="WanVideoBlockSwap",
            widgets={
                "blocks_to_swap": 20,
                "offload_img_emb": False,
                "offload_txt_emb": True,
                "use_non_blocking": True,
                "vace_blocks_to_swap": 0,
                "prefetch_blocks": 1,
                "block_swap_debug": False,
            },
        ),
        "3": Sketch(
            kind="WanVideoLoraSelect",
            widgets={"lora": "speed\\warm.safetensors", "strength": 0.8, "low_mem_load": False},
            links={"prev_lora": ("4", 0)},
        ),
        "4": Sketch(
            kind="WanVideoLoraSelectMulti",
            widgets={"lora_0": "cold.safetensors", "strength_0": 0.5, "lora_1": "none", "strength_1": 1.0},
        ),
        "5": Sketch(
            kind="LoadWanVideoT5TextEncoder",
            widgets={
                "model_name": "tiny_umt5.safetensors",
                "precision": "bf16",
                "load_device": "offload_device",
                "quantization": "disabled",
            },
        ),
        "6": Sketch(
            kind="WanVideoTextEncode",
            widgets={"positive_prompt": "a red ball", "negative_prompt": "blur", "force_offload": True},
            links={"t5": ("5", 0)},
        ),
        "7": Sketch(kind="WanVideoEmptyEmbeds", widgets={"width": 832, "height": 480, "num_frames": 81}),
        "8": sampler({"steps": 25, "cfg": 5.5, "shift": 8, "seed": 77}, model="1", text="6", images="7"),
        "9": Sketch(
            kind="WanVideoVAELoader", widgets={"model_name": "other_vae.safetensors", "precision": "bf16"}
        ),
        "10": Sketch(
            kind="WanVideoDecode",
            widgets={"enable_vae_tiling": True, "tile_x": 272, "tile_y": 272},
            links={"vae": ("9", 0), "samples": ("8", 0)},
        ),
        "11": Sketch(kind="CreateVideo", widgets={"fps": 16.0}, links={"images": ("10", 0)}),
    }


TEXT_VALUES = {
    "task": "text_to_video",
    "model": "tiny_t2v",
    "base_precision": "bf16",
    "quantization": "fp8_e4m3fn_scaled",
    "load_device": "offload_device",
    "attention": "flash_attn_2",
    "rms_norm_function": "pytorch",
    "blocks_to_swap": 20,
    "offload_img_emb": False,
    "offload_txt_emb": True,
    "vace_blocks_to_swap": 0,
    "prefetch_blocks": 1,
    "debug_mode": False,
    "prompt": "a red ball",
    "negative_prompt": "blur",
    "width": 832,
    "height": 480,
    "num_frames": 81,
    "num_inference_steps": 25,
    "guidance_scale": 5.5,
    "flow_shift": 8.0,
    "seed": 77,
    "force_offload": True,
    "sampler": "unipc",
    "riflex_freq_index": 0,
    "denoise_strength": 1.0,
    "start_step": 0,
    "vae_precision": "bf16",
    "vae_tiling": "on",
    "fps": 16.0,
}


def sampler(first: Mapping[str, Any], *, model: str, text: str, images: str, **last: Any) -> Sketch:
    """The wrapper's sampler: its widgets as far as the file has them."""
    widgets = {
        **first,
        "force_offload": True,
        "scheduler": "unipc",
        "riflex_freq_index": 0,
        "denoise_strength": 1,
        "batched_cfg": False,
        "rope_function": "comfy",
        "start_step": 0,
        "end_step": -1,
        "add_noise_to_samples": False,
        **last,
    }
    links = {"model": (model, 0), "image_embeds": (images, 0), "text_embeds": (text, 0)}
    return Sketch(kind="WanVideoSampler", widgets=widgets, links=links)


def native_image_to_video() -> Workflow:
    """ComfyUI's own nodes; the seed comes from a node that holds a number."""
    return {
        "37": Sketch(
            kind="UNETLoader", widgets={"unet_name": "tiny_i2v.safetensors", "weight_dtype": "fp8_e4m3fn"}
        ),
        "38": Sketch(
            kind="CLIPLoader",
            widgets={"clip_name": "tiny_umt5.safetensors", "type": "wan", "device": "default"},
        ),
        "39": Sketch(kind="VAELoader", widgets={"vae_name": "tiny_vae.safetensors"}),
        "6": Sketch(kind="CLIPTextEncode", widgets={"text": "a girl nods"}, links={"clip": ("38", 0)}),
        "7": Sketch(kind="CLIPTextEncode", widgets={"text": "static"}, links={"clip": ("38", 0)}),
        "49": Sketch(kind="CLIPVisionLoader", widgets={"clip_name": "tiny_clip.safetensors"}),
        "51": Sketch(
            kind="CLIPVisionEncode",
            widgets={"crop": "none"},
            links={"clip_vision": ("49", 0), "image": ("52", 0)},
        ),
        "52": Sketch(kind="LoadImage", widgets={"image": "folder\\girl.png [input]"}),
        "50": Sketch(
            kind="WanImageToVideo",
            widgets={"width": 512, "height": 768, "length": 33, "batch_size": 1},
            links={
                "positive": ("6", 0),
                "negative": ("7", 0),
                "clip_vision_output": ("51", 0),
                "start_image": ("52", 0),
            },
        ),
        "54": Sketch(kind="ModelSamplingSD3", widgets={"shift": 8.0}, links={"model": ("37", 0)}),
        "60": Sketch(kind="PrimitiveInt", widgets={"value": 4321}),
        "3": Sketch(
            kind="KSampler",
            widgets={
                "seed": 1,
                "steps": 20,
                "cfg": 6,
                "sampler_name": "uni_pc",
                "scheduler": "beta",
                "denoise": 1,
            },
            links={
                "seed": ("60", 0),
                "model": ("54", 0),
                "positive": ("50", 0),
                "negative": ("50", 1),
                "latent_image": ("50", 2),
            },
        ),
        "8": Sketch(kind="VAEDecode", links={"samples": ("3", 0), "vae": ("39", 0)}),
        "28": Sketch(kind="CreateVideo", widgets={"fps": 24}, links={"images": ("8", 0)}),
        "29": Sketch(kind="SaveVideo", links={"video": ("28", 0)}),
    }


NATIVE_VALUES = {
    "task": "image_to_video",
    "model": "tiny_i2v",
    "quantization": "fp8_e4m3fn",
    "prompt": "a girl nods",
    "negative_prompt": "static",
    "width": 512,
    "height": 768,
    "num_frames": 33,
    "flow_shift": 8.0,
    "seed": 4321,
    "num_inference_steps": 20,
    "guidance_scale": 6.0,
    "sampler": "unipc/beta",
    "denoise_strength": 1.0,
    "fps": 24.0,
}
