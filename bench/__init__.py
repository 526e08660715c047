"""Load scripts and what they measured."""
