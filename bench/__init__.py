"""How fast the service is, beside others that do less for the same messages: `python -m bench`."""
