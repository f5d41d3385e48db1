"""The database: connections and transactions, types, names, errors and the catalog."""
