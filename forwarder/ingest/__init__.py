"""Accept events over HTTP and over the stream socket."""
