"""The power campaign, and what it is made of: a drive that loses its cache, a machine, what runs in it, a ledger."""
