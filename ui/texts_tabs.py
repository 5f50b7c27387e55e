"""The sentences of the Gallery and the System tab, in English; `ui/texts.py` joins them to the others."""

from collections.abc import Mapping

ENGLISH_TABS: Mapping[str, str] = {
    "tab_gallery": "Gallery",
    "gallery_search": "Search",
    "gallery_search_hint": "words of the prompt or the file name, or a setting: seed=7, steps=4",
    "gallery_refresh": "Refresh",
    "gallery_none": "No videos yet. What you make appears here.",
    "gallery_not_found": "No video holds all of these words.",
    "gallery_count": "{first} to {last} of {total}",
    "gallery_newer": "Newer",
    "gallery_older": "Older",
    "gallery_pick": "A video",
    "gallery_pick_note": "Click one to play it, to see how it was made, and to make another like it.",
    "gallery_reuse": "Reuse settings",
    "gallery_options": "Use its options",
    "gallery_keep_seed": "Keep the seed",
    "gallery_last_frame": "Last frame as start picture",
    "gallery_download": "Download",
    "gallery_delete": "Delete",
    "gallery_drop": "Settings from a video file",
    "gallery_drop_note": "Drop a video that this program made, from any machine.",
    "gallery_request": "What was asked for",
    "gallery_effective": "What really ran",
    "gallery_notes": "Notes",
    "gallery_unreadable": "can't be read",
    "gallery_facts": "{seconds} · {width} × {height} · {frames} frames at {fps} fps · {size}",
    "gallery_restored": "The form holds the settings of {name}.",
    "gallery_options_set": "Model Settings holds the options of {name}.",
    "gallery_gone": "Not here any more, choose again: {files}",
    "gallery_deleted": "{name} was moved to the folder trash in the output folder.",
    "gallery_frame_set": "The last frame of {name} is the start picture.",
    "gallery_lost": "This video is gone. Choose another one.",
    "tab_system": "System",
    "system_disk": "Disk",
    "system_disk_free": "{free} free of {total}",
    "system_disk_parts": "Videos|Uploads|Windows of unfinished videos|Trash",
    "system_disk_columns": "In the output folder|Files|Size",
    "system_caches": "Caches",
    "system_caches_note": "All of it is made again when it is needed.",
    "system_cache_names": (
        "Weights in another format|Encoded prompts|Gallery thumbnails|Outcomes of trials|Measured speed"
        "|Timed attention kernels|What model files hold|Checked downloads"
    ),
    "system_cache_lost": (
        "the next load converts them again|the next video encodes its prompt again|made again when looked at"
        "|every kernel is tried again before its next use|forecasts of time are a guess until you calibrate"
        "|timed again by the next video|every model file is read again|hashes are computed again"
    ),
    "system_clear": "Clear",
    "system_cleared": "{name}: {size} removed.",
    "system_busy": "A video is being made. Wait until it is done, or stop it.",
    "system_probes": "What was tried on this machine",
    "system_probes_attention": "Attention|Speed|Likeness|Outcome",
    "system_probes_quantization": "Quantization|Speed|Error|Outcome",
    "system_probes_note": (
        "Speed: beside PyTorch's own attention, or the linear in full precision. Likeness: the cosine to the"
        " exact result; 1 is the same."
    ),
    "system_works": "Works",
    "system_works_by": "Works, computed by {name}",
    "system_plain": "runs on every machine; it multiplies in full precision",
    "system_untried": "can run here; not tried yet",
    "system_selftest": "Self-test",
    "system_calibrate": "Calibrate",
    "system_check": "Check this machine",
    "system_check_note": (
        "The self-test tries every attention and quantization in a process of its own. Calibrate measures the"
        " speed of this machine, for forecasts of time. Both take a minute or more."
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
        "A zip with versions, machine, trials, the end of the log and the settings of the last failed job,"
        " its prompt among them. No picture, sound, video or folder name."
    ),
}
