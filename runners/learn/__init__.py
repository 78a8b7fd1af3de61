"""Learning in the market: seats and rivals, training over the batch, evaluation, model cards."""
