"""What is due: source rows compared with their outcomes, counted, and read chunk by chunk."""
