:do {/interface/veth/add name=veth-tv address=172.17.0.40/24 gateway=172.17.0.1} on-error={}
:do {/routing/igmp-proxy/interface/add interface=bridge-tv} on-error={}
/routing/igmp-proxy/interface/add interface=ether1 upstream=yes alternative-subnets=10.0.0.0/8
/routing/igmp-proxy/set query-interval=125 query-response-interval=10
