"""The tables, and the way to the servers."""
