"""Step caches: a step that would change little takes over what an earlier one computed in the blocks."""
