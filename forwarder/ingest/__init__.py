"""Where events come in: over HTTP and over the stream socket."""
