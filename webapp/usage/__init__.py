"""What was scored, for whom, by which version."""
