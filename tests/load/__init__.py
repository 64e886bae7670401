"""Load: many clients, slow and hostile ones, floods, and queues that are far larger than memory."""
