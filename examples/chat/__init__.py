"""A small chat: one application in front of a primary and its replicas."""
