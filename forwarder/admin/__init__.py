"""The HTTP API with which operators inspect and control the queue, the destinations and the dead letters."""
