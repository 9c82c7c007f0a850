"""The shop. Nothing in it knows how many servers there are."""
