"""What a run leaves to read: results, summary, progress."""
