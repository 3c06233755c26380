"""What the routes are given."""
