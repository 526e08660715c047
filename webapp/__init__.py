"""The site: everything a person or an API client talks to."""
