/routing igmp-proxy interface
add interface=ether1 upstream=yes
add interface=ether2
add interface=ether3
add disabled=yes interface=ether4
/routing igmp-proxy mfc
add downstream-interfaces=ether2,ether3 group=239.10.0.1 source=192.0.2.10 upstream-interface=ether1
add comment="nobody gets this" group=239.10.0.2 source=192.0.2.10 upstream-interface=ether1
add downstream-interfaces=ether4 group=239.10.0.3 source=192.0.2.10 upstream-interface=ether1
add disabled=yes downstream-interfaces=ether2 group=239.10.0.4 source=192.0.2.10 upstream-interface=ether1
add downstream=ether2 group=239.10.0.5 upstream=ether1
