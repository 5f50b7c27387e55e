"""What is refused, and why: logins, guests, other sites, files."""

from collections.abc import Mapping

ENGLISH: Mapping[str, str] = {
    "login_wait": "Too many wrong logins from this address. Try again in {seconds} s.",
    "refused_site": "This was sent by another site. Use the page itself.",
    "refused_upload": "The disk has no room for this upload. Free some space and try again.",
    "refused_file": "This file is not served.",
    "guest_refused": "A guest can't do this. Ask whoever runs this page.",
    "guest_full": "You have {count} videos in the queue. Wait for one of them, or cancel it.",
    "no_job": "There is no job {number}.",
    "input_refused": "{name} was not uploaded here",
}

CHINESE: Mapping[str, str] = {
    "login_wait": "这个地址的登录错误次数过多，请在 {seconds} 秒后再试。",
    "refused_site": "这个请求来自其他网站，请直接使用本页面。",
    "refused_upload": "磁盘空间不足，无法上传。请腾出一些空间后再试。",
    "refused_file": "这个文件不提供访问。",
    "guest_refused": "访客不能执行此操作，请联系页面的管理者。",
    "guest_full": "队列中已有你的 {count} 个视频，请等其中一个完成，或取消一个。",
    "no_job": "没有任务 {number}。",
    "input_refused": "{name} 不是在这里上传的",
}
