"""Due rows: compare the source with its outcomes, count the rows, and read them in chunks."""
