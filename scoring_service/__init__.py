"""The model server: Open Inference Protocol v2 over HTTP. Imports nothing of the site."""
