"""To and from the authors' files."""
