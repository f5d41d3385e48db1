"""The database: schema, runs, what is due, predictions, quarantine and the model registry.

Uses SQLAlchemy; knows neither scikit-learn nor how scores are computed.
"""
