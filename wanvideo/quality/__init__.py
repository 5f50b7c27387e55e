"""What a finished video is worth, in figures, and what is no video at all."""
