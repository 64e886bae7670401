"""Where operators look on and steer: the queue, the destinations, the dead letters."""
