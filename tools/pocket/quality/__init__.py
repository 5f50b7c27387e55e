"""What each quantization mode and attention backend costs in quality: the table of docs/quality.md."""
