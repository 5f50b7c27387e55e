"""The engine: request -> plan -> models -> window by window -> file. Knows nothing of the page.

request, presets        what a person asks for, and how this machine should run it
plan                    everything decided before a weight is read
checkpoint, model_cache files -> ready modules, lent and kept
conditioning, sampling  prompts, pictures and speech -> tensors; the one denoising loop
media                   pictures, sound and frames in; segments and the finished file out
pipeline                the story that ties them together
jobs, cli               the ways in
"""

__version__ = "0.1.0"
