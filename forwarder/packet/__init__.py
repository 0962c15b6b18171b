"""What the kernel offers: packet sockets, their rings and filters."""
