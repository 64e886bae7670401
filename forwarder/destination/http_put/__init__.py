"""The Event API: a batch is posted to `/put`, over HTTP/1.1, as a JWS."""
