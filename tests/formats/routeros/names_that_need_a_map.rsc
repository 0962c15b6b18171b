/routing igmp-proxy interface
add interface="ether1 - tv" upstream=yes
add interface=bridge-of-the-living-room
/routing igmp-proxy mfc
add downstream-interfaces=bridge-of-the-living-room group=239.10.2.1 source=192.0.2.3 \
    upstream-interface="ether1 - tv"
