"""Jobs over many inputs: upload, check, score in the background, results."""
