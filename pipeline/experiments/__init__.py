"""The published experiments: their table, one configuration file each, and the ledger of what was run."""
