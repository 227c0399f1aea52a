"""Load for a running server: many listeners, what they meet, and how the server fares meanwhile."""
