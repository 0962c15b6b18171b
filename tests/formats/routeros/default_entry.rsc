/routing igmp-proxy
set quick-leave=no
/routing igmp-proxy interface
set [ find default=yes ] threshold=2
add interface=sfp-sfpplus1 upstream=yes
