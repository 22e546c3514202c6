"""What an image must be to be kept: format, size, licence, content."""
