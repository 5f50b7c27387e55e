"""Attention backends, one file per family of providers; the table is the folder
(`registry.attention_backends`).
"""

SUPPORT = frozenset({"kernel", "providers", "radial_mask"})
