"""A run held against its own log: rebuilt in plain Python, compared value by value, completed if it was cut off."""
