"""Translation of fitted scikit-learn models to expressions that a database can compute."""
