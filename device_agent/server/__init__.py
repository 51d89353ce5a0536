"""What is said to the server, and what waits to be said."""
