"""The command line: a module for commands that belong together, `main` for all there are; tables and screens."""
