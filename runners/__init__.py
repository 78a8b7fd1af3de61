"""Drive agents through a market: simulate, report, train, evaluate."""
