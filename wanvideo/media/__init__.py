"""Pictures, sound and video in; window segments and the finished file out.

probe.py       facts about an input file, without torch
pictures.py    a picture as a tensor of a given size
sound.py       sound as samples, loudness, several speakers in one track
color.py       colour correction of a window against the reference picture
frames.py      frames of a source video by time
segments.py    finished windows of a job on disk
video.py       segments + sound + metadata -> one mp4
input_file.py  opening what a user gave
ffmpeg.py      running the bundled ffmpeg
"""
