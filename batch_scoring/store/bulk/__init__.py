"""Moving many rows between the database and memory: one contract, a strategy for each driver."""
