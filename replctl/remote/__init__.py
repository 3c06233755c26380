"""Ports to hosts and servers, and their adapters."""
