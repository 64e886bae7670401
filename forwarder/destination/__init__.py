"""Where batches go: the contract that delivery knows, the kinds of destination, and a folder for each kind."""
