"""The gang of ranks that a foreign launcher started: each comes to the coordinator over TCP."""
