"""How Django writes dates where we do not: in its own lists and forms."""
