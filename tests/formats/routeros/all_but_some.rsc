/routing igmp-proxy interface
add interface=all threshold=3
add interface=ether1 upstream=yes alternative-subnets=224.0.0.0/4,10.4.0.1/16
add alternative-subnets=10.8.0.0/16 interface=ether5 threshold=0
add interface=ether6 threshold=4294967295
/routing igmp-proxy mfc
add downstream-interfaces=all group=239.10.1.1 source=10.4.0.9 upstream-interface=ether1
