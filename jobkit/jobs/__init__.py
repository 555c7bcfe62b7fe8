"""Jobs on disk: their run folders and records, the keeper that runs them, and how they are watched."""
