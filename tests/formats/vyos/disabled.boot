protocols {
    igmp-proxy {
        disable
        interface eth0 {
            role upstream
        }
        interface eth1 {
        }
    }
}
