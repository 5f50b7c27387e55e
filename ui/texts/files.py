"""The Files tab."""

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "files_download": "Download",
    "files_idle": "Nothing is being downloaded. What stops is taken up again where it was.",
    "files_starting": "Asking the hub for sizes",
    "files_done": "Everything is there and checked.",
    "files_stopped": "Stopped. The next download goes on where this one was.",
    "stopping_download": "Stopping",
    "files_recipes": "Recipes",
    "files_lacks": "{count} of {total} files missing, {size}",
    "files_unconfirmed": "its place on the hub was never checked",
    "files_get": "Download",
    "files_found": "What is there",
    "files_columns": "Part|File|State",
    "files_components": (
        "Diffusion model|InfiniteTalk|VAE|Text encoder|Image encoder|Speech encoder|LoRA|Vocals|Other"
    ),
    "files_added": "Added folders",
    "files_added_none": "No folder was added.",
    "files_away": "not there now",
    "files_remove": "Remove",
    "files_add": "Add my ComfyUI models folder",
    "files_add_label": "ComfyUI models folder",
    "files_add_help": "its files are used where they lie; nothing is copied",
    "state_found": "found",
    "state_missing": "missing",
    "state_wrong": "not usable",
    "state_complete": "complete",
}

CHINESE: Mapping[str, str] = {
    "files_download": "下载",
    "files_idle": "当前没有下载。中断的下载会从停下的地方继续。",
    "files_starting": "正在向下载站查询文件大小",
    "files_done": "所有文件都已就绪并通过校验。",
    "files_stopped": "已停止。下次下载会从这里继续。",
    "stopping_download": "正在停止",
    "files_recipes": "模型套装",
    "files_lacks": "缺 {count} / {total} 个文件，共 {size}",
    "files_unconfirmed": "下载地址尚未核实",
    "files_get": "下载",
    "files_found": "已有文件",
    "files_columns": "部件|文件|状态",
    "files_components": "扩散模型|InfiniteTalk|VAE|文本编码器|图像编码器|语音编码器|LoRA|人声分离|其他",
    "files_added": "已添加的文件夹",
    "files_added_none": "还没有添加文件夹。",
    "files_away": "目前找不到",
    "files_remove": "移除",
    "files_add": "添加我的 ComfyUI 模型文件夹",
    "files_add_label": "ComfyUI 模型文件夹",
    "files_add_help": "直接使用原位置的文件，不复制",
    "state_found": "已找到",
    "state_missing": "缺失",
    "state_wrong": "不可用",
    "state_complete": "完整",
}
