"""What the service and its client look like in use."""
