"""The engine: request -> plan -> models -> window by window -> file. Knows nothing of the page.

request, presets        what a person asks for, and how this machine should run it
plan                    everything decided before a weight is read
checkpoint, model_cache files -> ready modules, lent and kept
conditioning, sampling  prompts, pictures and speech -> tensors; the one denoising loop
media                   pictures, sound and frames in; segments and the finished file out
pipeline                the story that ties them together
jobs, cli               the ways in
"""

import os

# Threads that wait by spinning win 5 % on an idle computer and lose a factor of ten on a busy one: a forward
# pass of the pocket model beside another torch process took 4.4 s, and 0.44 s like this. Read when torch
# loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
