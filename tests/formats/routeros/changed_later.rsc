/routing igmp-proxy interface
add interface=ether1
add interface=ether2 threshold=9
add interface=ether3 comment="goes away"
set [find interface=ether1] upstream=yes alternative-subnets=10.0.0.0/8
set 1 threshold=16
set numbers=2 disabled=yes
enable [find where interface=ether3]
remove [ find comment="goes away" ]
set [find interface=ether9] upstream=yes
add interface=ether4
disable [find interface=ether4]
unset [find interface=ether2] threshold
/routing igmp-proxy
set query-interval=1h
set query-interval=2m5s
