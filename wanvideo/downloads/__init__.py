"""Model files from the model hub: which are known, which are there, how they come, whether they are whole."""
