"""A small application beside the service, over the same models and ``crud``: users and their tasks by HTTP."""
