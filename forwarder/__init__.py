"""mcfwd: the multicast forwarder; one supervisor and its children."""
