protocols {
    igmp-proxy {
        interface eth0.501 { role upstream   alt-subnet 0.0.0.0/0 threshold 1 }
        interface switch0  { role downstream alt-subnet 0.0.0.0/0 threshold 1 }
    }
}
