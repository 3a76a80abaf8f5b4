"""What the service can be asked, said in words that its requesters understand."""
