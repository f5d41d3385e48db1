"""MLflow: models of its registry, and runs and models logged to its tracking server.

The client is imported in processes of its own (``client_process``), and by ``train``. A run with nothing due does
neither.
"""
