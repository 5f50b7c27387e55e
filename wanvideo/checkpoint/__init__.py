"""Checkpoint files: what is it (inspect), what its tensors are called (keys), a ready module (load)."""
