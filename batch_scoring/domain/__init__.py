"""Records and rules that every other package uses. They need neither a database nor a model."""
