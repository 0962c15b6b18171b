"""The configuration: from files and the command line to validated `Settings`, and the words that describe its keys."""
