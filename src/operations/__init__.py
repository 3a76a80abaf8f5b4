"""What every entity can be asked."""
