"""`python -m bench`: multicast forwarders measured side by side by the methods of RFC 3918; see docs/benchmarks.md."""
