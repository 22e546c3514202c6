"""One reader per data set layout, and the registry that opens them."""
