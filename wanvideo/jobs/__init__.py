"""The queue on disk, the process that works through it, and the one that keeps that process alive."""
