"""What a crawl leaves: shards, state, duplicates, cards."""
