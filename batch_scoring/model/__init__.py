"""The model: artifact, manifest, signature, scoring and training.

Knows scikit-learn and pandas; knows nothing of SQL.
"""
