"""REST on the Unix socket."""
