# mar/14/2021 20:15:03 by RouterOS 6.47.9
# software id = AAAA-BBBB
#
# model = RB4011iGS+
# serial number = 000000000000
/interface bridge
add admin-mac=02:00:00:00:00:01 auto-mac=no comment=defconf igmp-snooping=yes \
    name=bridge-local protocol-mode=none
/interface vlan
add interface=sfp1 name=vlan1.4 vlan-id=4
/ip dhcp-client option
add code=60 name=option60-vendorclass value="'IPTV_RG'"
/ip firewall filter
add action=accept chain=input comment="IPTV; multicast # not a comment" \
    dst-address=224.0.0.0/4 in-interface=vlan1.4 protocol=igmp
/routing igmp-proxy
set quick-leave=yes
/routing igmp-proxy interface
add alternative-subnets=213.75.0.0/16,217.166.0.0/16,10.207.0.0/20,10.16.0.0/16 \
    interface=vlan1.4 upstream=yes
add interface=bridge-local
/system clock
set time-zone-name=Europe/Amsterdam
/system script
add dont-require-permissions=no name=watch owner=admin policy=read source="/rou\
    ting igmp-proxy interface\r\
    \n:foreach i in=[find upstream=yes] do={ :put \$i }\r\
    \n"
