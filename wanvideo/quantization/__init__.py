"""Weight formats, one file each; the table is the folder (`registry.quantization_modes`)."""
