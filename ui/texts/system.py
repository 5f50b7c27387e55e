"""The System tab."""

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "system_disk": "Disk",
    "system_disk_free": "{free} free of {total}",
    "system_disk_parts": "Videos|Uploads|Windows of unfinished videos|Trash",
    "system_disk_columns": "In the output folder|Files|Size",
    "system_caches": "Caches",
    "system_caches_note": "All of it is made again when it is needed.",
    "system_cache_names": (
        "Weights in another format|Encoded prompts|Gallery thumbnails|Outcomes of trials|Measured "
        "speed|Timed attention kernels|What model files hold|Checked downloads|Compiled blocks"
    ),
    "system_cache_lost": (
        "the next load converts them again|the next video encodes its prompt again|made again when looked"
        " at|every kernel is tried again before its next use|forecasts of time are a guess until you "
        "calibrate|timed again by the next video|every model file is read again|hashes are computed again"
        "|the next video compiles them again"
    ),
    "system_clear": "Clear",
    "system_cleared": "{name}: {size} removed.",
    "system_busy": "A video is being made. Wait until it is done, or stop it.",
    "system_probes": "What was tried on this machine",
    "system_probes_attention": "Attention|Speed|Likeness|Outcome",
    "system_probes_quantization": "Quantization|Speed|Error|Outcome",
    "system_probes_note": (
        "Speed: beside PyTorch's own attention, or the linear in full precision. Likeness: the cosine to "
        "the exact result; 1 is the same."
    ),
    "system_works": "Works",
    "system_works_by": "Works, computed by {name}",
    "system_plain": "runs on every machine; it multiplies in full precision",
    "system_untried": "can run here; not tried yet",
    "system_selftest": "Self-test",
    "system_calibrate": "Calibrate",
    "system_check": "Check this machine",
    "system_check_note": (
        "The self-test tries every attention and quantization in a process of its own. Calibrate measures"
        " the speed of this machine, for forecasts of time. Both take a minute or more."
    ),
    "system_check_running": "{name} is running",
    "system_check_done": "{name}: done",
    "system_check_failed": "{name} ended with an error",
    "system_check_stopped": "{name} was stopped",
    "system_log": "Log",
    "system_log_none": "Nothing was logged yet.",
    "system_log_note": "The end of the worker's log. Folders are shortened.",
    "system_refresh": "Refresh",
    "system_report": "A report to send",
    "system_report_make": "Make the report",
    "system_report_download": "Download the report",
    "system_report_note": (
        "A zip with versions, machine, trials, the end of the log and the settings of the last failed "
        "job, its prompt among them. No picture, sound, video or folder name."
    ),
}

CHINESE: Mapping[str, str] = {
    "system_disk": "磁盘",
    "system_disk_free": "可用 {free}，共 {total}",
    "system_disk_parts": "视频|上传的文件|未完成视频的窗口|回收站",
    "system_disk_columns": "输出文件夹中|文件数|大小",
    "system_caches": "缓存",
    "system_caches_note": "都会在需要时重新生成。",
    "system_cache_names": (
        "转换过格式的权重|编码过的提示词|图库缩略图|测试结果|测得的速度|注意力内核的计时|模型文件的内容|"
        "已校验的下载|编译过的模块"
    ),
    "system_cache_lost": (
        "下次加载时重新转换|下一个视频重新编码提示词|查看时重新生成|每个内核在下次使用前重新测试|重新校准"
        "之前，时间预测只是估计|下一个视频重新计时|重新读取每个模型文件|重新计算哈希值|下一个视频重新编译"
    ),
    "system_clear": "清除",
    "system_cleared": "{name}：已清除 {size}。",
    "system_busy": "正在生成视频。请等它完成，或先停止。",
    "system_probes": "在本机上的测试结果",
    "system_probes_attention": "注意力|速度|相似度|结果",
    "system_probes_quantization": "量化|速度|误差|结果",
    "system_probes_note": (
        "速度：与 PyTorch 自带的注意力或全精度线性层相比。相似度：与精确结果的余弦值，1 表示完全相同。"
    ),
    "system_works": "可用",
    "system_works_by": "可用，由 {name} 计算",
    "system_plain": "任何机器都能用，以全精度相乘",
    "system_untried": "本机支持，尚未测试",
    "system_selftest": "自检",
    "system_calibrate": "校准",
    "system_check": "检查本机",
    "system_check_note": (
        "自检会在单独的进程中逐一测试每种注意力和量化。校准会测量本机速度，用于预测时间。两者都需要一分钟"
        "或更久。"
    ),
    "system_check_running": "{name}进行中",
    "system_check_done": "{name}：完成",
    "system_check_failed": "{name}出错结束",
    "system_check_stopped": "{name}已停止",
    "system_log": "日志",
    "system_log_none": "还没有日志。",
    "system_log_note": "工作进程日志的末尾，文件夹路径已缩短。",
    "system_refresh": "刷新",
    "system_report": "问题报告",
    "system_report_make": "生成报告",
    "system_report_download": "下载报告",
    "system_report_note": (
        "一个 zip 文件，含版本、机器、测试结果、日志末尾，以及上一个失败任务的设置（包括提示词）。不含图片"
        "、声音、视频和文件夹名。"
    ),
}
