"""Where weights are while a model is in use: on the card, or in main memory and streamed in by blocks."""
