"""Benchmarks. They print measurements and assert nothing, because machines are shared and noisy."""
