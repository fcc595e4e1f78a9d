"""What scripts/bench measures (one module for each kind), and how it is shown. See docs/benchmarks.md."""
