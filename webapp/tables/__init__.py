"""Reads tables and JSON lines as people upload them: formats, encodings, delimiters, headers, workbooks, zips.

What the rows mean, those know who read them: batches of questions, and imports of FAQ entries.
"""
