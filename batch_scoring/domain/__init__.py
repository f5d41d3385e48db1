"""What every other part speaks of: records and rules that need neither a database nor a model."""
