/* the router of the
   first floor: { is not balanced, and 'nothing' ends here */
interfaces {
    ethernet eth0 {
        address 198.51.100.2/30
        address 10.11.0.2/16
    }
    ethernet eth1 {
        address 192.168.40.1/24
    }
}
protocols {
    igmp-proxy {
        disable-quickleave
        interface eth0 {
            alt-subnet 10.0.0.0/8
            alt-subnet 172.16.0.0/12
            alt-subnet 192.168.99.7/24
            role upstream
            threshold 4
        }
        interface eth1 {
            role downstream
            threshold 15
            whitelist 239.192.0.0/16
            whitelist 232.1.1.1
        }
    }
}
system {
    login {
        banner {
            pre-login "Welcome\n\n  //  not a comment  /* nor this */ }"
        }
    }
    ntp {
        server http://ntp.example.net
    }
}
