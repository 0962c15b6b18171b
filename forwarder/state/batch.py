"""A batch of changes: what may stand in it, for the command line, the API and the supervisor."""

MOST_OPERATIONS = 20_000    # of one batch: a supervisor takes half a second for them
MOST_OCTETS = 4 << 20       # of its JSON: MOST_OPERATIONS of 200 octets each

COMMANDS = {
    "route add": ("add", "routes"),
    "route replace": ("replace", "routes"),
    "route del": ("delete", "routes"),
    "group add": ("add", "groups"),
    "group del": ("delete", "groups"),
}
"""What an operation is called, and the verb and noun of the change that it is."""
