"""Job logs that others published, read as one kind of job. One file a format; `reader.py` knows which is which."""
