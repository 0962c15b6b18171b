# 2024-02-11 09:00:00 by RouterOS 7.13.4
# software id =
#
/interface/bridge
add igmp-snooping=yes name=bridge
/ip/address
add address=10.99.8.2/24 interface=ether1 network=10.99.8.0
/routing/igmp-proxy
set query-interval=30s query-response-interval=5s quick-leave=yes
/routing/igmp-proxy/interface
add alternative-subnets=0.0.0.0/0 comment="provider's tv" disabled=no inter\
    face=ether1 upstream=yes
add comment="set-top boxes" interface=bridge threshold=2
add disabled=yes interface=guests
/system/identity
set name=home
