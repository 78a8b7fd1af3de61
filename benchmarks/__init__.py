"""Speed, memory and scale of the market: ``python -m benchmarks``."""
