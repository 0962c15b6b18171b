# IGMP proxy between the provider's network and the house
/routing igmp-proxy set quick-leave=no query-interval=00:01:00
/routing igmp-proxy interface add alternative-subnets=0.0.0.0/0 interface=combo1.101 upstream=yes
/routing igmp-proxy interface add interface=bridge1251

/system ntp client set enabled=yes
