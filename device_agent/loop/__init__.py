"""What the box is and becomes: the table of states, its steps, and the loop that walks them."""
