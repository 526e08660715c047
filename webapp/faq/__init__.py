"""FAQ search: collections and their entries, the page, the API."""
