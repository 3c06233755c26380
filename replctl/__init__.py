"""Provision, watch and promote PostgreSQL streaming replicas over plain SSH."""

__version__ = "0.1.0"
