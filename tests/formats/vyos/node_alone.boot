igmp-proxy {
    interface wan0 {
        role upstream
    }
    interface lan0 {
        role downstream
    }
    interface lan1 {
        role downstream
    }
}
