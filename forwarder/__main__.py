"""`python -m forwarder` is `mcfwd`."""

from forwarder.cli import main

if __name__ == "__main__":
    main()
