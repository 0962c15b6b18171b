# RouterOS 7
/routing igmp-proxy interface
add alternative-subnets=10.0.0.0/8,\
    172.16.0.0/12 interface=\
    wan upstream=yes
add interface=lan1
add interface=lan2
