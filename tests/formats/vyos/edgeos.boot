firewall {
    all-ping enable
    name WAN_IN {
        default-action drop
        description "WAN to internal, \"igmp\" too"
        rule 10 {
            action accept
            destination {
                address 224.0.0.0/4
            }
            log disable
            protocol udp
        }
    }
}
interfaces {
    ethernet eth0 {
        duplex auto
        vif 4 {
            address dhcp
            description TV
            dhcp-options {
                client-option "send vendor-class-identifier &quot;TV_RG&quot;;"
                default-route no-update
            }
        }
    }
    loopback lo {
    }
    switch switch0 {
        address 192.168.1.1/24
        switch-port {
            interface eth1
            interface eth2 {
            }
        }
    }
}
protocols {
    igmp-proxy {
        interface eth0.4 {
            alt-subnet 0.0.0.0/0
            role upstream
            threshold 1
        }
        interface eth3 {
            role disabled
            threshold 255
        }
        interface pppoe0 {
            role disabled
            threshold 1
        }
        interface switch0 {
            alt-subnet 0.0.0.0/0
            role downstream
            threshold 1
        }
    }
    static {
        interface-route6 ::/0 {
            next-hop-interface pppoe0 {
            }
        }
    }
}
service {
    dhcp-server {
        global-parameters "class &quot;boxes&quot; { match if substring (option vendor-class-identifier, 0, 5) = &quot;TV_RG&quot;; }"
        use-dnsmasq disable
    }
}


/* Warning: Do not remove the following line. */
/* === vyatta-config-version: "config-management@1:conntrack@1:system@4:zone-policy@1" === */
/* Release version: v1.10.11.5274249.200221.1028 */
