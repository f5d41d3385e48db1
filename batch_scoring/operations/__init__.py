"""What people ask of scored rows: scoring them again, explaining, replaying, retrying and deleting them."""
