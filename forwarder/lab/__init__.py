"""Veth topologies in network namespaces, numbered senders, kernel receivers, the demo."""
