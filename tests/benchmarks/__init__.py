"""Benchmarks: `python -m tests.benchmarks`. Everything is compared within one run."""
