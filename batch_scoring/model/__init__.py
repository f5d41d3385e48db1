"""The model: artifact, manifest, signature, scoring and training.

Uses scikit-learn and pandas, and no SQL.
"""
