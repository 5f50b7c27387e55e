"""For whoever looks for a fault: the log, the caches, a report to send, a command that runs. No torch."""
