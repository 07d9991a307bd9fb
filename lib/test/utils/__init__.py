"""Results that leave for a server, and results that come from elsewhere."""
