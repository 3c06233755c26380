"""Frozen values: what the inventory says, what was observed, what is planned. Standard library only."""
