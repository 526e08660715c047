"""The FAQ matcher: text, features, training, evaluation."""
