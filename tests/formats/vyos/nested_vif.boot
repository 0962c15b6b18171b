protocols {
    igmp-proxy {
        interface eth0 {
            vif 35 {
                alt-subnet 10.35.0.0/16
                role upstream
            }
        }
        interface eth1 {
            role downstream
            vif 20 {
                threshold 8
            }
        }
        interface eth2 {
            vif-s 100 {
                vif-c 200 {
                    role downstream
                }
            }
        }
    }
}
