"""Other people's daemons in a lab: opponents of the bench, neighbours in tests, and no part of what is installed."""
