"""Polite download: addresses, robots.txt, rate limits."""
