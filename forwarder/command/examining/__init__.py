"""The facts that `mcfwd doctor` judges: gathered from /proc, netlink, ethtool, packet filters and a running instance.

What cannot be read is not there, or said in words; nothing takes longer than a part of a second.
"""
