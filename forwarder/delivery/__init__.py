"""Where events leave: batched, signed, sent, and settled by what the destination answers."""
