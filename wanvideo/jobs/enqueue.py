"""From one request to rows of the queue: each variation is a job of its own, and knows its seed."""

import secrets
from dataclasses import replace

from wanvideo.jobs.store import JobStore
from wanvideo.request import RANDOM_SEED, GenerationRequest, RuntimeOptions


def enqueue(store: JobStore, request: GenerationRequest, options: RuntimeOptions) -> list[int]:
    """Add `request.count` jobs with seeds seed, seed + 1, ... and return their numbers.

    A random seed is drawn here, not by the worker: a job that is taken up again must make the same video.
    """
    first = secrets.randbelow(2**31) if request.seed == RANDOM_SEED else request.seed
    seeded = [replace(request, seed=first + variation, count=1) for variation in range(request.count)]
    return [store.add(one, options) for one in seeded]
