"""HTTP to where a client says: sources are fetched and callbacks sent from here, and nowhere that they should not go."""
