"""The only place where model and store meet: runs, the registry's verbs, checks and status."""
