"""One small handler for every kind of action. Each asks first whether its goal already holds."""
