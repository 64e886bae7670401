"""Accept events locally, queue them durably, deliver them signed to the 10Duke Event API."""

__version__ = "0.1.0"
