"""People: the user model, sign-in, profile."""
