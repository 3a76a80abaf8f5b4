"""Dead letters: what they hold, and the queue that holds them."""
