"""Files of other programs: each format has a module that makes of its text the tables that our TOML would have."""
