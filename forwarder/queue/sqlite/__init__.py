"""The queue in a SQLite file, on one machine."""
