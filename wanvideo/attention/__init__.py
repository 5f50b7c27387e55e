"""Attention backends, one file each; the table is the folder (`registry.attention_backends`)."""
