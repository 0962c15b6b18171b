/routing igmp-proxy interface
add interface=ether2 upstream=yes
add interface=ether3
