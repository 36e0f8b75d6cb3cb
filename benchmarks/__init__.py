"""Measurements against the peers: ``python -m benchmarks`` in the repository, ``genimg-fast bench`` once installed."""
