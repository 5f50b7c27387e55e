"""Whether a kernel really works here: shown in a process of its own, and kept on disk."""
