"""The shell around igmp.proxy.Proxy: sockets, the clock, one timer, and the route rows it writes."""
