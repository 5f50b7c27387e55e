"""What a job takes: bytes of the card, main memory, seconds; and what is decided so that it fits."""
