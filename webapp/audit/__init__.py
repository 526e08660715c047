"""The security log: who signed in, who was refused, and who changed keys, roles, plans and webhooks."""
