# may/02/2022 18:40:11 by RouterOS 6.49.6
/ip route
add check-gateway=ping disabled=no distance=1 dst-address=203.0.113.48/31 gateway=10.197.128.1 scope=30 target-scope=10

# the multicast package is needed
/routing igmp-proxy
set query-interval=10s quick-leave=yes
/routing igmp-proxy interface
add alternative-subnets=198.18.0.0/15 interface=IPTV upstream=yes
add interface=bridge

# time
/system clock
set time-zone-name=America/Sao_Paulo
