interfaces {
    ethernet eth0 {
        address "dhcp"
        hw-id "00:53:00:00:00:01"
        vif 7 {
        }
    }
    bridge br1 {
        address "192.168.7.1/24"
    }
}
protocols {
    igmp-proxy {
        interface br1 {
            role "downstream"
            whitelist "239.35.0.0/16"
        }
        interface eth0.7 {
            alt-subnet "87.141.0.0/16"
            alt-subnet "193.158.0.0/15"
            role "upstream"
        }
    }
    pim {
        interface eth2 {
        }
    }
}

// Warning: Do not remove the following line.
// vyos-config-version: "bgp@5:broadcast-relay@1:config-management@1:igmp@1"
// Release version: 1.5-rolling-202411200007
