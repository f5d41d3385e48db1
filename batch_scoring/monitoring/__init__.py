"""What runs left behind, as figures for those who watch."""
