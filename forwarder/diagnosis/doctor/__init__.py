"""`mcfwd doctor`: what of this machine and configuration keeps multicast away, or may. Pure: facts in, findings out.

A module a domain; `examination` asks them all.
"""
