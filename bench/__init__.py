"""The benchmark harness: ``python -m bench``, and docs/benchmarks.md."""
