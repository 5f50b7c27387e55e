"""Damaged and hostile model files against the readers of headers."""
