"""API keys: create, show once, revoke, recognise; who is asking, and how often they may."""
