"""Image classification: the page and the API."""
