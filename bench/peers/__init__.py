"""What the service is held against. Each program is as short as its library's own documentation would have it."""
