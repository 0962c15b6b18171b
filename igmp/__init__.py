"""IGMP, pure: bytes and facts in, outputs out; no socket, clock or randomness of its own."""
