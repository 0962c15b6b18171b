[admin@MikroTik] /routing igmp-proxy> interface add interface=ether1 upstream=yes
[admin@MikroTik] /routing igmp-proxy> interface add interface=all
[admin@MikroTik] /routing igmp-proxy> interface print
[admin@MikroTik] > /routing igmp-proxy set quick-leave=yes
