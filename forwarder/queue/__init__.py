"""Where events wait: durable, bounded, accounted for."""
