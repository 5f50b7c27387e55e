"""The page: request fields become widgets, jobs become cards. It decides nothing and loads no torch."""
