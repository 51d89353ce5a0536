"""What is wrong with a box, and the command that mends it. It reads; it never changes anything."""
