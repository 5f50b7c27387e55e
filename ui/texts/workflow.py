"""The import of ComfyUI workflows."""

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "workflow": "Import a ComfyUI workflow",
    "workflow_note": "Its settings go into the form, what does not fit is listed. Nothing runs.",
    "workflow_file": "Workflow: json, or a picture or video that ComfyUI made",
    "workflow_report": "What became of the workflow",
    "workflow_summary": "{taken} settings taken over · {open} to look at",
    "workflow_taken": "Taken over: {count}",
    "workflow_left": "Not taken: {count}",
    "workflow_missing": "Files that are not here: {count}",
    "workflow_unknown": "Not known: {count}",
    "workflow_otherwise": "Not needed here: {count}",
    "workflow_unused": "Not part of the video: {count}",
    "workflow_columns": "Node|Value|What became of it",
    "workflow_more_loras": "The form has {count} LoRAs; not in it: {rest}",
}

CHINESE: Mapping[str, str] = {
    "workflow": "导入 ComfyUI 工作流",
    "workflow_note": "工作流的设置会填入表单，不适用的会列出来。不会运行任何东西。",
    "workflow_file": "工作流：json，或 ComfyUI 生成的图片、视频",
    "workflow_report": "工作流导入结果",
    "workflow_summary": "已采用 {taken} 项设置 · {open} 项需要查看",
    "workflow_taken": "已采用：{count}",
    "workflow_left": "未采用：{count}",
    "workflow_missing": "本机没有的文件：{count}",
    "workflow_unknown": "无法识别：{count}",
    "workflow_otherwise": "这里不需要：{count}",
    "workflow_unused": "与视频无关：{count}",
    "workflow_columns": "节点|值|处理结果",
    "workflow_more_loras": "表单可放 {count} 个 LoRA，未放入：{rest}",
}
