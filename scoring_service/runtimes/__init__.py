"""One module per kind of model; base.py says what a runtime is."""
