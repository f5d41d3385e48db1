"""``python -m batch_scoring`` is ``batch-scoring``."""

from batch_scoring.cli import main

if __name__ == "__main__":
    main()
