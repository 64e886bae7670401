"""What happened, as facts, and who is told: the log is one observer, metrics and traces are others."""
