"""Where events go: the kinds of destinations, each in a folder of its own."""
