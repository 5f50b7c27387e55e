"""The preset picker."""

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "preset": "Preset",
    "preset_help": "fills in the fields it names, and leaves the rest",
    "preset_best": "Recommended",
    "preset_reason": "Recommended for this machine: {reason}",
    "preset_needs": "Made for a step-distilled file: {file}",
    "preset_fills": "What it fills in",
    "preset_apply": "Apply",
    "preset_applied": "Preset applied: {preset}",
    "preset_missing": "The preset names {file}, which is not installed here.",
    "preset_few_steps": (
        "{steps} steps are made for a step-distilled model or LoRA, like {file}, which the Files tab "
        "loads; another model makes a smear of them."
    ),
    "preset_own": "My presets",
    "preset_name": "Name",
    "preset_name_help": "keeps all settings of this task but its inputs, prompt and seed",
    "preset_save": "Save as a preset",
    "preset_saved": "Preset saved: {preset}",
    "preset_delete": "Delete the chosen preset",
    "preset_group_tier": "Memory",
    "preset_group_card": "Card",
    "preset_group_purpose": "Purpose",
    "preset_group_workflow": "Named",
    "preset_group_demo": "Bundled model",
    "preset_group_own": "Mine",
}

CHINESE: Mapping[str, str] = {
    "preset": "预设",
    "preset_help": "只填入它包含的字段，其余保持不变",
    "preset_best": "推荐",
    "preset_reason": "为本机推荐：{reason}",
    "preset_needs": "需要步数蒸馏文件：{file}",
    "preset_fills": "会填入的内容",
    "preset_apply": "应用",
    "preset_applied": "已应用预设：{preset}",
    "preset_missing": "预设用到的 {file} 没有安装。",
    "preset_few_steps": (
        "{steps} 步只适合步数蒸馏的模型或 LoRA，例如可在“文件”页下载的 {file}；用其他模型画面会糊成一片。"
    ),
    "preset_own": "我的预设",
    "preset_name": "名称",
    "preset_name_help": "保存该任务的全部设置，不含输入、提示词和种子",
    "preset_save": "保存为预设",
    "preset_saved": "已保存预设：{preset}",
    "preset_delete": "删除所选预设",
    "preset_group_tier": "显存",
    "preset_group_card": "显卡",
    "preset_group_purpose": "用途",
    "preset_group_workflow": "专用",
    "preset_group_demo": "自带模型",
    "preset_group_own": "我的",
}
