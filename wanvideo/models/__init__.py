"""The networks of Wan 2.1 and InfiniteTalk: diffusers' and transformers' classes, and what those lack."""
