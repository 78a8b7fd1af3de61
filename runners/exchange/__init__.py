"""The exchange format of order-book research, LOBSTER pairs, and what they say beside real markets."""
