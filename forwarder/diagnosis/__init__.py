"""Why something does not work, in words, and what helps: pure, over facts that others gather."""
