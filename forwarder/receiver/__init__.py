"""A local stand-in for the Event API: it verifies and stores events, returns them, and fails on demand."""

from forwarder.receiver.account import Keep, Record, Stats
from forwarder.receiver.faults import Action, Fault, Faults
from forwarder.receiver.server import MAX_BYTES, Receiver
from forwarder.receiver.tokens import mint

__all__ = ["MAX_BYTES", "Action", "Fault", "Faults", "Keep", "Receiver", "Record", "Stats", "mint"]
