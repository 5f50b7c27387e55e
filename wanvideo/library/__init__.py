"""The finished videos of an output folder: listed, searched, read back, thrown away. No torch."""
