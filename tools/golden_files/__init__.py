"""Golden files: what the official Wan 2.1 / InfiniteTalk code computed, and the check for each kind."""
