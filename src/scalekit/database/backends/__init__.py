"""What each kind of server can tell us: one file a kind."""
