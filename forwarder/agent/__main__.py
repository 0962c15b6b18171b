"""`python -m forwarder.agent`: the process mcfwd-agent."""

from forwarder.agent.agent import main

main()
