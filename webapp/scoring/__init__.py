"""The client of the scoring pods; the only importer of the contract."""
