"""What lies in the state directory, written so that a kill leaves it whole."""
