"""What is told about a run: events as data, structured logs, redaction."""
