"""The database: schema, runs, what is due, predictions, quarantine and the model registry.

Knows SQLAlchemy; knows nothing of scikit-learn or of how a score comes about.
"""
