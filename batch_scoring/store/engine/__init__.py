"""The database itself: connections and transactions, types, names, errors, and what its catalog says."""
