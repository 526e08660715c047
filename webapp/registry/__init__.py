"""Models and their versions: artifact, check, promotion, canary, shadow, rollback, and a history nobody can edit."""
