"""The parts of the storage contract's test."""
