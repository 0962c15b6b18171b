"""Benchmarks that print what they measured: lossless rate and join delay, beside the kernel's multicast routing."""
