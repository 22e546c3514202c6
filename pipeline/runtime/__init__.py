"""What every command runs on: command line, cost, progress, locks, weights, precision."""
