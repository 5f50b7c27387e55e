"""What the parts of the engine cost on this machine: time, memory, error."""
